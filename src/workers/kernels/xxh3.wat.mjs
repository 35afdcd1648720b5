/**
 * The text of the module that computes XXH3-64 (seed 0, default secret), as doc/xxhash_spec.md of
 * the xxHash project describes it. A script writes the text because the inner loop is unrolled: a
 * block of 1 KiB is 16 stripes of 64 bytes, and each stripe has its own part of the secret.
 *
 * Addresses are byte offsets. $frames is a bank of physical memory, and $image is the memory that
 * pages go to, as in frames.wat. The build makes two modules of this text: "xxh3-between" as it
 * stands, and "xxh3-inside", where $image is $frames. copyAndUpdate digests what it copies from
 * $frames; all other functions digest bytes in $image.
 *
 * The eight accumulators and the number of bytes so far are imported globals. So instances of one
 * thread, over several memories, can digest parts of one payload in turn: `begin` is called in any
 * of them, `update` in the one whose memory holds the part, and `finish` where the last part lies.
 */
import { SHORT } from './xxh3-short.mjs';
import {
  hex,
  i64,
  PRIME32_1,
  PRIME32_2,
  PRIME32_3,
  PRIME64_1,
  PRIME64_2,
  PRIME64_3,
  PRIME64_4,
  PRIME64_5,
  SCALARS,
  secretAt,
  times,
} from './xxh3-words.mjs';

const START = [
  ...[PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3],
  ...[PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1],
];

const BLOCK = 1024; //         bytes between two scrambles
const STRIPE = 64; //          bytes that are added to the accumulators at once
const STRIPES = BLOCK / STRIPE;
const SCRAMBLE_AT = 128; //    byte of the secret: its last 64 bytes
const LAST_STRIPE_AT = 121; // byte of the secret, for the last 64 bytes of the input
const MERGE_AT = 11; //        byte of the secret, for merging the accumulators
const PAGE = 4096;

/**
 * 128 bits of the secret, as a constant. Those at multiples of 8 are also globals (`secretGlobal`),
 * which are faster.
 */
const secretVector = (offset) =>
  `(v128.const i64x2 ${hex(secretAt(offset))} ${hex(secretAt(offset + 8))})`;
const secretGlobal = (offset) => `(global.get $secret${offset})`;

const LOW_HALVES = '0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27';
const HIGH_HALVES = '4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31';
const SWAPPED = '8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7';

const swap = (data) => `(i8x16.shuffle ${SWAPPED} (local.get $${data}) (local.get $${data}))`;

const LANES = `
  (local $acc0 v128) (local $acc1 v128) (local $acc2 v128) (local $acc3 v128)
  (local $data0 v128) (local $data1 v128) (local $key0 v128) (local $key1 v128)
  (local $low v128) (local $high v128)`;

/** Code that loads the accumulators from the globals to locals, and code that saves them. */
const LOAD = times(
  4,
  (k) => `
  (local.set $acc${k} (i64x2.replace_lane 1
    (i64x2.splat (global.get $lane${2 * k})) (global.get $lane${2 * k + 1})))`,
);
const SAVE = times(
  4,
  (k) => `
  (global.set $lane${2 * k} (i64x2.extract_lane 0 (local.get $acc${k})))
  (global.set $lane${2 * k + 1} (i64x2.extract_lane 1 (local.get $acc${k})))`,
);

/**
 * Code that adds the 64 bytes at $at + `offset` to the accumulators. `secret(byte)` is the vector
 * of the secret for a byte of the stripe. `store` writes code that stores a vector after its load.
 *
 * Two vectors of data are taken together: one shuffle collects the low halves of their four keys
 * and another one the high halves, so that two instructions multiply all four.
 */
function accumulate(offset, secret, store = () => '') {
  return times(2, (half) => {
    const [one, two] = [32 * half, 32 * half + 16];
    const [acc, next] = [`$acc${2 * half}`, `$acc${2 * half + 1}`];
    return `
  (local.set $data0 (v128.load $image offset=${offset + one} align=1 (local.get $at)))
  (local.set $data1 (v128.load $image offset=${offset + two} align=1 (local.get $at)))
  ${store(offset + one, '$data0')} ${store(offset + two, '$data1')}
  (local.set $key0 (v128.xor (local.get $data0) ${secret(one)}))
  (local.set $key1 (v128.xor (local.get $data1) ${secret(two)}))
  (local.set $low (i8x16.shuffle ${LOW_HALVES} (local.get $key0) (local.get $key1)))
  (local.set $high (i8x16.shuffle ${HIGH_HALVES} (local.get $key0) (local.get $key1)))
  (local.set ${acc} (i64x2.add (i64x2.add (local.get ${acc}) ${swap('data0')})
    (i64x2.extmul_low_i32x4_u (local.get $low) (local.get $high))))
  (local.set ${next} (i64x2.add (i64x2.add (local.get ${next}) ${swap('data1')})
    (i64x2.extmul_high_i32x4_u (local.get $low) (local.get $high))))`;
  });
}

/** Code that adds stripe `index` of the block at $at. */
const stripe = (index, store) =>
  accumulate(STRIPE * index, (byte) => secretGlobal(8 * index + byte), store);

const SCRAMBLE = times(
  4,
  (k) => `
  (local.set $acc${k} (i64x2.mul
    (v128.xor ${secretGlobal(SCRAMBLE_AT + 16 * k)}
      (v128.xor (local.get $acc${k}) (i64x2.shr_u (local.get $acc${k}) (i32.const 47))))
    (v128.const i64x2 ${hex(PRIME32_1)} ${hex(PRIME32_1)})))`,
);

const add = (local, bytes) =>
  `(local.set ${local} (i32.add (local.get ${local}) (i32.const ${bytes})))`;
const count = (bytes) =>
  `(global.set $total (i64.add (global.get $total) (i64.extend_i32_u ${bytes})))`;

const UPDATE = `
  ;; Adds whole blocks of 1 KiB: $bytes is a multiple of 1024, not 0. The last block of an input is
  ;; left to $finish, even if it is whole.
  (func $update (export "update") (param $at i32) (param $bytes i32)
    (local $end i32) ${LANES}
    ${LOAD}
    (local.set $end (i32.add (local.get $at) (local.get $bytes)))
    (loop $block
      ${times(STRIPES, (index) => stripe(index))}
      ${SCRAMBLE}
      ${add('$at', BLOCK)}
      (br_if $block (i32.ne (local.get $at) (local.get $end))))
    ${SAVE}
    ${count('(local.get $bytes)')})`;

/** Code that stores a vector to $image while it is in a register, for copies from $frames. */
const storeImage = (offset, data) =>
  `(v128.store $image offset=${offset} align=1 (local.get $to) (local.get ${data}))`;
const fromFrames = (text) => text.replaceAll('v128.load $image', 'v128.load $frames');

const COPY_AND_UPDATE = `
  ;; Copies $bytes, a multiple of 1024, from $at in $frames to $to, and adds them as $update does.
  (func (export "copyAndUpdate") (param $to i32) (param $at i32) (param $bytes i32)
    (local $end i32) ${LANES}
    ${LOAD}
    (local.set $end (i32.add (local.get $at) (local.get $bytes)))
    (loop $block
      ${fromFrames(times(STRIPES, (index) => stripe(index, storeImage)))}
      ${SCRAMBLE}
      ${add('$at', BLOCK)}
      ${add('$to', BLOCK)}
      (br_if $block (i32.ne (local.get $at) (local.get $end))))
    ${SAVE}
    ${count('(local.get $bytes)')})`;

const SOURCES = ['$a', '$b', '$c', '$d'];
const LINE = 64; // bytes of a cache line

/** Code that copies a cache line of each of four pages, as copyFour of frames.wat does. */
const copyLines = (offset) =>
  SOURCES.map((source, page) =>
    times(4, (part) => {
      const at = offset + 16 * part;
      return `
      (v128.store $image offset=${PAGE * page + at} (local.get $to)
        (v128.load $frames offset=${at} (local.get ${source})))`;
    }),
  ).join('');

const COPY_FOUR_AND_UPDATE = `
  ;; Copies four pages from anywhere to $to, one behind the other, and adds the 16 KiB before $to
  ;; meanwhile, which the call before has copied: while the processor waits for lines of the next
  ;; pages, it computes on those that are in the cache.
  (func (export "copyFourAndUpdate")
    (param $to i32) (param $a i32) (param $b i32) (param $c i32) (param $d i32)
    (local $at i32) (local $end i32) ${LANES}
    ${LOAD}
    (local.set $at (i32.sub (local.get $to) (i32.const ${4 * PAGE})))
    (local.set $end (local.get $to))
    (loop $block
      ${times(STRIPES / 4, (line) => copyLines(LINE * line) + times(4, (index) => stripe(4 * line + index)))}
      ${SCRAMBLE}
      ${add('$at', BLOCK)}
      ${['$to', ...SOURCES].map((each) => add(each, BLOCK / 4)).join(' ')}
      (br_if $block (i32.ne (local.get $at) (local.get $end))))
    ${SAVE}
    ${count(`(i32.const ${4 * PAGE})`)})`;

const FINISH = `
  ;; Adds the last 1 to n bytes of an input of more than 240, and returns the low half of the digest.
  ;; The last 64 bytes of the input lie in one piece, before $at + $bytes.
  (func $finish (export "finish") (param $at i32) (param $bytes i32) (result i32)
    (local $whole i32) (local $stripes i32) (local $digest i64) ${LANES}
    (local.set $whole
      (i32.and (i32.sub (local.get $bytes) (i32.const 1)) (i32.const -${BLOCK})))
    (if (local.get $whole)
      (then (call $update (local.get $at) (local.get $whole))))
    (local.set $at (i32.add (local.get $at) (local.get $whole)))
    (local.set $bytes (i32.sub (local.get $bytes) (local.get $whole)))
    ${count('(local.get $bytes)')}
    ${LOAD}
    (local.set $stripes
      (i32.shr_u (i32.sub (local.get $bytes) (i32.const 1)) (i32.const 6)))
    (block $added
      ${times(
        STRIPES - 1,
        (index) => `
      (br_if $added (i32.eq (local.get $stripes) (i32.const ${index})))
      ${stripe(index)}`,
      )})
    (local.set $at (i32.sub (i32.add (local.get $at) (local.get $bytes)) (i32.const ${STRIPE})))
    ${accumulate(0, (byte) => secretVector(LAST_STRIPE_AT + byte))}
    (local.set $digest (i64.mul (global.get $total) ${i64(PRIME64_1)}))
    ${times(4, (k) => {
      const lane = (half) =>
        `(i64.xor (i64x2.extract_lane ${half} (local.get $acc${k}))
          ${i64(secretAt(MERGE_AT + 16 * k + 8 * half))})`;
      return `
    (local.set $digest (i64.add (local.get $digest) (call $fold ${lane(0)} ${lane(1)})))`;
    })}
    (call $result (call $avalanche (local.get $digest))))`;

export const XXH3_TEXT = `
(module
  (memory $frames (import "mmdump" "frames") 1 65536 shared)
  (memory $image (import "mmdump" "image") 1 65536 shared)

  ;; The state of a digest between calls.
  ${times(8, (k) => `(global $lane${k} (import "mmdump" "lane${k}") (mut i64))`)}
  (global $total (import "mmdump" "total") (mut i64))

  ${times(STRIPES + 7, (k) => `(global $secret${8 * k} v128 ${secretVector(8 * k)})`)}
  (global $highHalf (mut i32) (i32.const 0))
  ${SCALARS}

  (func $begin (export "begin")
    (global.set $total (i64.const 0))
    ${times(8, (k) => `(global.set $lane${k} ${i64(START[k])})`)})
  ${UPDATE}
  ${COPY_AND_UPDATE}
  ${COPY_FOUR_AND_UPDATE}
  ${FINISH}
  ${SHORT}

  ;; The low half of the digest of bytes in one piece, 0 or more of them.
  (func (export "digest") (param $at i32) (param $bytes i32) (result i32)
    (if (i32.gt_u (local.get $bytes) (i32.const 240)) (then
      (call $begin)
      (return (call $finish (local.get $at) (local.get $bytes)))))
    (call $result (call $short (local.get $at) (local.get $bytes))))

  ;; The high half of what "digest" or "finish" of this instance has returned last.
  (func (export "high") (result i32) (global.get $highHalf)))
`;
