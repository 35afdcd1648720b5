/**
 * What the parts of the text of xxh3.wat.mjs share: the constants of the specification, and
 * shorthands for instructions.
 */

/** The default secret of the specification, 192 bytes. */
const SECRET = Buffer.from(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f' +
    'cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c' +
    '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364' +
    'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e' +
    '2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
  'hex',
);

export const PRIME32_1 = 0x9e3779b1n;
export const PRIME32_2 = 0x85ebca77n;
export const PRIME32_3 = 0xc2b2ae3dn;
export const PRIME64_1 = 0x9e3779b185ebca87n;
export const PRIME64_2 = 0xc2b2ae3d27d4eb4fn;
export const PRIME64_3 = 0x165667b19e3779f9n;
export const PRIME64_4 = 0x85ebca77c2b2ae63n;
export const PRIME64_5 = 0x27d4eb2f165667c5n;
const PRIME_MX1 = 0x165667919e3779f9n;
export const PRIME_MX2 = 0x9fb21c651e98df25n;

export const times = (count, text) =>
  Array.from({ length: count }, (_, index) => text(index)).join('\n');

export const hex = (value) => `0x${BigInt.asUintN(64, value).toString(16)}`;
export const i64 = (value) => `(i64.const ${hex(value)})`;
/** The 64 bits of the secret at byte `offset`. */
export const secretAt = (offset) => SECRET.readBigUInt64LE(offset);

export const xorShift = (value, by) =>
  `(local.set ${value} (i64.xor (local.get ${value}) (i64.shr_u (local.get ${value}) (i64.const ${by}))))`;
export const multiply = (value, by) =>
  `(local.set ${value} (i64.mul (local.get ${value}) ${i64(by)}))`;
export const load64 = (at, offset = 0) => `(i64.load $image offset=${offset} align=1 ${at})`;

export const SCALARS = `
  ;; The halves of a product of 128 bits, one xor the other.
  (func $fold (param $x i64) (param $y i64) (result i64)
    (local $xl i64) (local $xh i64) (local $yl i64) (local $yh i64) (local $ll i64) (local $cross i64)
    (local.set $xl (i64.and (local.get $x) (i64.const 0xffffffff)))
    (local.set $xh (i64.shr_u (local.get $x) (i64.const 32)))
    (local.set $yl (i64.and (local.get $y) (i64.const 0xffffffff)))
    (local.set $yh (i64.shr_u (local.get $y) (i64.const 32)))
    (local.set $ll (i64.mul (local.get $xl) (local.get $yl)))
    (local.set $cross (i64.add (i64.mul (local.get $xh) (local.get $yl))
      (i64.shr_u (local.get $ll) (i64.const 32))))
    (i64.xor
      (i64.mul (local.get $x) (local.get $y))
      (i64.add
        (i64.add (i64.mul (local.get $xh) (local.get $yh))
          (i64.shr_u (local.get $cross) (i64.const 32)))
        (i64.shr_u
          (i64.add (i64.mul (local.get $xl) (local.get $yh))
            (i64.and (local.get $cross) (i64.const 0xffffffff)))
          (i64.const 32)))))

  (func $avalanche (param $x i64) (result i64)
    ${xorShift('$x', 37)}
    ${multiply('$x', PRIME_MX1)}
    ${xorShift('$x', 32)}
    (local.get $x))

  ;; The final step of XXH64, for inputs of 0 to 3 bytes.
  (func $avalanche64 (param $x i64) (result i64)
    ${xorShift('$x', 33)}
    ${multiply('$x', PRIME64_2)}
    ${xorShift('$x', 29)}
    ${multiply('$x', PRIME64_3)}
    ${xorShift('$x', 32)}
    (local.get $x))

  ;; Mixes 16 bytes of the input with 16 of the secret.
  (func $mix (param $at i32) (param $secret0 i64) (param $secret1 i64) (result i64)
    (call $fold
      (i64.xor ${load64('(local.get $at)')} (local.get $secret0))
      (i64.xor ${load64('(local.get $at)', 8)} (local.get $secret1))))

  ;; Leaves the high half for $high.
  (func $result (param $digest i64) (result i32)
    (global.set $highHalf (i32.wrap_i64 (i64.shr_u (local.get $digest) (i64.const 32))))
    (i32.wrap_i64 (local.get $digest)))`;
