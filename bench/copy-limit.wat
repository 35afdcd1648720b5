;; The best bulk copy there is inside one memory: one memory.copy per run of frames.
;; The list at $list holds frame numbers; neighbours are copied together.
(module
  (memory (import "limit" "memory") 1 65536 shared)
  (func (export "copyFrames")
    (param $list i32) (param $count i32) (param $to i32)
    (local $end i32) (local $frame i32) (local $run i32)
    (local.set $end (i32.add (local.get $list) (i32.shl (local.get $count) (i32.const 2))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $list) (local.get $end)))
        (local.set $frame (i32.load (local.get $list)))
        (local.set $run (i32.const 1))
        (block $ended
          (loop $longer
            (local.set $list (i32.add (local.get $list) (i32.const 4)))
            (br_if $ended (i32.ge_u (local.get $list) (local.get $end)))
            (br_if $ended (i32.ne (i32.load (local.get $list))
                                  (i32.add (local.get $frame) (local.get $run))))
            (local.set $run (i32.add (local.get $run) (i32.const 1)))
            (br $longer)))
        (memory.copy
          (local.get $to)
          (i32.shl (local.get $frame) (i32.const 12))
          (i32.shl (local.get $run) (i32.const 12)))
        (local.set $to (i32.add (local.get $to) (i32.shl (local.get $run) (i32.const 12))))
        (br $next)))))
