/** The part of the text of xxh3.wat.mjs that digests inputs of at most 240 bytes. */
import {
  i64,
  load64,
  multiply,
  PRIME_MX2,
  PRIME64_1,
  secretAt,
  times,
  xorShift,
} from './xxh3-words.mjs';

/**
 * Code that mixes the 16 bytes at `place` with the secret at `offset` and adds the result to $acc.
 */
const mixInto = (place, offset) => `
    (local.set $acc (i64.add (local.get $acc)
      (call $mix ${place} ${i64(secretAt(offset))} ${i64(secretAt(offset + 8))})))`;
const fromStart = (bytes) => `(i32.add (local.get $at) (i32.const ${bytes}))`;
const fromEnd = (bytes) =>
  `(i32.sub (i32.add (local.get $at) (local.get $bytes)) (i32.const ${bytes}))`;
const isAtLeast = (bytes) => `(i32.ge_u (local.get $bytes) (i32.const ${bytes}))`;
const LENGTH = '(i64.extend_i32_u (local.get $bytes))';

export const SHORT = `
  ;; 1 to 3 bytes.
  (func $tiny (param $at i32) (param $bytes i32) (result i64)
    (call $avalanche64 (i64.xor
      ${i64((secretAt(0) ^ (secretAt(0) >> 32n)) & 0xffff_ffffn)}
      (i64.extend_i32_u (i32.or
        (i32.or
          (i32.load8_u $image ${fromEnd(1)})
          (i32.shl (local.get $bytes) (i32.const 8)))
        (i32.or
          (i32.shl (i32.load8_u $image (local.get $at)) (i32.const 16))
          (i32.shl
            (i32.load8_u $image
              (i32.add (local.get $at) (i32.shr_u (local.get $bytes) (i32.const 1))))
            (i32.const 24))))))))

  ;; 4 to 8 bytes.
  (func $small (param $at i32) (param $bytes i32) (result i64)
    (local $x i64)
    (local.set $x (i64.xor
      ${i64(secretAt(8) ^ secretAt(16))}
      (i64.or
        (i64.load32_u $image align=1 ${fromEnd(4)})
        (i64.shl (i64.load32_u $image align=1 (local.get $at)) (i64.const 32)))))
    (local.set $x (i64.xor (local.get $x)
      (i64.xor (i64.rotl (local.get $x) (i64.const 49)) (i64.rotl (local.get $x) (i64.const 24)))))
    ${multiply('$x', PRIME_MX2)}
    (local.set $x (i64.xor (local.get $x)
      (i64.add (i64.shr_u (local.get $x) (i64.const 35)) ${LENGTH})))
    ${multiply('$x', PRIME_MX2)}
    ${xorShift('$x', 28)}
    (local.get $x))

  (func $swapBytes (param $x i64) (result i64)
    (local.set $x (i64.or
      (i64.and (i64.shr_u (local.get $x) (i64.const 8)) (i64.const 0x00ff00ff00ff00ff))
      (i64.shl (i64.and (local.get $x) (i64.const 0x00ff00ff00ff00ff)) (i64.const 8))))
    (local.set $x (i64.or
      (i64.and (i64.shr_u (local.get $x) (i64.const 16)) (i64.const 0x0000ffff0000ffff))
      (i64.shl (i64.and (local.get $x) (i64.const 0x0000ffff0000ffff)) (i64.const 16))))
    (i64.rotl (local.get $x) (i64.const 32)))

  ;; 9 to 16 bytes.
  (func $little (param $at i32) (param $bytes i32) (result i64)
    (local $low i64) (local $high i64)
    (local.set $low
      (i64.xor ${i64(secretAt(24) ^ secretAt(32))} ${load64('(local.get $at)')}))
    (local.set $high
      (i64.xor ${i64(secretAt(40) ^ secretAt(48))} ${load64(fromEnd(8))}))
    (call $avalanche (i64.add
      (i64.add ${LENGTH} (call $swapBytes (local.get $low)))
      (i64.add (local.get $high) (call $fold (local.get $low) (local.get $high))))))

  ;; 17 to 128 bytes: as many vectors from the start and from the end as cover it.
  (func $medium (param $at i32) (param $bytes i32) (result i64)
    (local $acc i64)
    (local.set $acc (i64.mul ${LENGTH} ${i64(PRIME64_1)}))
    ${times(
      4,
      (k) => `
    (if ${isAtLeast(32 * k + 1)} (then
      ${mixInto(fromStart(16 * k), 32 * k)}
      ${mixInto(fromEnd(16 * k + 16), 32 * k + 16)}))`,
    )}
    (call $avalanche (local.get $acc)))

  ;; 129 to 240 bytes.
  (func $large (param $at i32) (param $bytes i32) (result i64)
    (local $acc i64)
    (local.set $acc (i64.mul ${LENGTH} ${i64(PRIME64_1)}))
    ${times(8, (k) => mixInto(fromStart(16 * k), 16 * k))}
    (local.set $acc (call $avalanche (local.get $acc)))
    ${times(
      7,
      (k) => `
    (if ${isAtLeast(128 + 16 * k + 16)} (then
      ${mixInto(fromStart(128 + 16 * k), 16 * k + 3)}))`,
    )}
    ${mixInto(fromEnd(16), 119)}
    (call $avalanche (local.get $acc)))

  (func $short (param $at i32) (param $bytes i32) (result i64)
    (if ${isAtLeast(129)} (then (return (call $large (local.get $at) (local.get $bytes)))))
    (if ${isAtLeast(17)} (then (return (call $medium (local.get $at) (local.get $bytes)))))
    (if ${isAtLeast(9)} (then (return (call $little (local.get $at) (local.get $bytes)))))
    (if ${isAtLeast(4)} (then (return (call $small (local.get $at) (local.get $bytes)))))
    (if ${isAtLeast(1)} (then (return (call $tiny (local.get $at) (local.get $bytes)))))
    (call $avalanche64 ${i64(secretAt(56) ^ secretAt(64))}))`;
