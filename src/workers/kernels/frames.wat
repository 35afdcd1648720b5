;; Kernels that work on frames in place. Addresses are byte offsets; a page has 4096 bytes.
;;
;; $frames is a bank of physical memory, and $image is the memory that pages go to. The build makes
;; two modules of this text. "between" is the text as it stands, for a Node that supports several
;; memories per module (22 and later). In "inside", $image is $frames, so pages go to another place
;; in the same memory.
(module
  (memory $frames (import "mmdump" "frames") 1 65536 shared)
  (memory $image (import "mmdump" "image") 1 65536 shared)

  ;; Copies bytes that lie in one piece.
  (func (export "copyRun") (param $to i32) (param $from i32) (param $bytes i32)
    (memory.copy $image $frames (local.get $to) (local.get $from) (local.get $bytes)))

  ;; Copies four pages from anywhere to $to, one behind the other. It copies a cache line of each
  ;; page in turn, so that the processor fetches from four places at a time. A copy of one page
  ;; after the other would wait for the first lines of every page.
  (func (export "copyFour")
    (param $to i32) (param $a i32) (param $b i32) (param $c i32) (param $d i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $to) (i32.const 4096)))
    (loop $line
      (v128.store $image           (local.get $to) (v128.load $frames           (local.get $a)))
      (v128.store $image offset=16 (local.get $to) (v128.load $frames offset=16 (local.get $a)))
      (v128.store $image offset=32 (local.get $to) (v128.load $frames offset=32 (local.get $a)))
      (v128.store $image offset=48 (local.get $to) (v128.load $frames offset=48 (local.get $a)))
      (v128.store $image offset=4096 (local.get $to) (v128.load $frames           (local.get $b)))
      (v128.store $image offset=4112 (local.get $to) (v128.load $frames offset=16 (local.get $b)))
      (v128.store $image offset=4128 (local.get $to) (v128.load $frames offset=32 (local.get $b)))
      (v128.store $image offset=4144 (local.get $to) (v128.load $frames offset=48 (local.get $b)))
      (v128.store $image offset=8192 (local.get $to) (v128.load $frames           (local.get $c)))
      (v128.store $image offset=8208 (local.get $to) (v128.load $frames offset=16 (local.get $c)))
      (v128.store $image offset=8224 (local.get $to) (v128.load $frames offset=32 (local.get $c)))
      (v128.store $image offset=8240 (local.get $to) (v128.load $frames offset=48 (local.get $c)))
      (v128.store $image offset=12288 (local.get $to) (v128.load $frames           (local.get $d)))
      (v128.store $image offset=12304 (local.get $to) (v128.load $frames offset=16 (local.get $d)))
      (v128.store $image offset=12320 (local.get $to) (v128.load $frames offset=32 (local.get $d)))
      (v128.store $image offset=12336 (local.get $to) (v128.load $frames offset=48 (local.get $d)))
      (local.set $to (i32.add (local.get $to) (i32.const 64)))
      (local.set $a (i32.add (local.get $a) (i32.const 64)))
      (local.set $b (i32.add (local.get $b) (i32.const 64)))
      (local.set $c (i32.add (local.get $c) (i32.const 64)))
      (local.set $d (i32.add (local.get $d) (i32.const 64)))
      (br_if $line (i32.ne (local.get $to) (local.get $end)))))

  ;; Returns 1 if all bytes of the page are zero, else 0. Stops at the first 128 bytes that are not
  ;; all zero.
  (func (export "isZeroPage") (param $at i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (i32.const 4096)))
    (loop $lines
      (if (v128.any_true
            (v128.or
              (v128.or
                (v128.or (v128.load $frames           (local.get $at))
                         (v128.load $frames offset=16 (local.get $at)))
                (v128.or (v128.load $frames offset=32 (local.get $at))
                         (v128.load $frames offset=48 (local.get $at))))
              (v128.or
                (v128.or (v128.load $frames offset=64 (local.get $at))
                         (v128.load $frames offset=80 (local.get $at)))
                (v128.or (v128.load $frames offset=96 (local.get $at))
                         (v128.load $frames offset=112 (local.get $at))))))
        (then (return (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 128)))
      (br_if $lines (i32.ne (local.get $at) (local.get $end))))
    (i32.const 1)))
