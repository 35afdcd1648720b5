;; The best bulk copies that there are inside one memory, for lists of frames in order of address.
;; A list holds frame numbers; a frame has 4096 bytes. The copies lie side by side from $to on.
(module
  (memory (import "limit" "memory") 1 65536 shared)

  ;; One memory.copy per run of neighbouring frames.
  (func (export "copyRuns")
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
        (br $next))))

  ;; Copies four frames at once, one cache line of 64 bytes of each in turn. The processor
  ;; prefetches from four places instead of waiting at the start of every page.
  (func (export "copyFours")
    (param $list i32) (param $count i32) (param $to i32)
    (local $a i32) (local $b i32) (local $c i32) (local $d i32) (local $end i32)
    (block $few
      (loop $next
        (br_if $few (i32.lt_u (local.get $count) (i32.const 4)))
        (local.set $a (i32.shl (i32.load (local.get $list)) (i32.const 12)))
        (local.set $b (i32.shl (i32.load offset=4 (local.get $list)) (i32.const 12)))
        (local.set $c (i32.shl (i32.load offset=8 (local.get $list)) (i32.const 12)))
        (local.set $d (i32.shl (i32.load offset=12 (local.get $list)) (i32.const 12)))
        (local.set $end (i32.add (local.get $to) (i32.const 4096)))
        (loop $line
          (v128.store offset=0 (local.get $to) (v128.load offset=0 (local.get $a)))
          (v128.store offset=16 (local.get $to) (v128.load offset=16 (local.get $a)))
          (v128.store offset=32 (local.get $to) (v128.load offset=32 (local.get $a)))
          (v128.store offset=48 (local.get $to) (v128.load offset=48 (local.get $a)))
          (v128.store offset=4096 (local.get $to) (v128.load offset=0 (local.get $b)))
          (v128.store offset=4112 (local.get $to) (v128.load offset=16 (local.get $b)))
          (v128.store offset=4128 (local.get $to) (v128.load offset=32 (local.get $b)))
          (v128.store offset=4144 (local.get $to) (v128.load offset=48 (local.get $b)))
          (v128.store offset=8192 (local.get $to) (v128.load offset=0 (local.get $c)))
          (v128.store offset=8208 (local.get $to) (v128.load offset=16 (local.get $c)))
          (v128.store offset=8224 (local.get $to) (v128.load offset=32 (local.get $c)))
          (v128.store offset=8240 (local.get $to) (v128.load offset=48 (local.get $c)))
          (v128.store offset=12288 (local.get $to) (v128.load offset=0 (local.get $d)))
          (v128.store offset=12304 (local.get $to) (v128.load offset=16 (local.get $d)))
          (v128.store offset=12320 (local.get $to) (v128.load offset=32 (local.get $d)))
          (v128.store offset=12336 (local.get $to) (v128.load offset=48 (local.get $d)))
          (local.set $a (i32.add (local.get $a) (i32.const 64)))
          (local.set $b (i32.add (local.get $b) (i32.const 64)))
          (local.set $c (i32.add (local.get $c) (i32.const 64)))
          (local.set $d (i32.add (local.get $d) (i32.const 64)))
          (local.set $to (i32.add (local.get $to) (i32.const 64)))
          (br_if $line (i32.lt_u (local.get $to) (local.get $end))))
        (local.set $to (i32.add (local.get $to) (i32.const 12288)))
        (local.set $list (i32.add (local.get $list) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 4)))
        (br $next)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (memory.copy
          (local.get $to)
          (i32.shl (i32.load (local.get $list)) (i32.const 12))
          (i32.const 4096))
        (local.set $to (i32.add (local.get $to) (i32.const 4096)))
        (local.set $list (i32.add (local.get $list) (i32.const 4)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))))
