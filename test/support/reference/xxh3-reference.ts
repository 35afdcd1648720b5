/**
 * XXH3-64 (seed 0, default secret) as doc/xxhash_spec.md of the xxHash project describes it, step
 * by step with whole numbers: slow, and easy to compare with that text. It is independent of the
 * kernel.
 */

const MASK = 0xffff_ffff_ffff_ffffn;
const LOW = 0xffff_ffffn;

const PRIME32_1 = 0x9e3779b1n;
const PRIME32_2 = 0x85ebca77n;
const PRIME32_3 = 0xc2b2ae3dn;
const PRIME64_1 = 0x9e3779b185ebca87n;
const PRIME64_2 = 0xc2b2ae3d27d4eb4fn;
const PRIME64_3 = 0x165667b19e3779f9n;
const PRIME64_4 = 0x85ebca77c2b2ae63n;
const PRIME64_5 = 0x27d4eb2f165667c5n;
const PRIME_MX1 = 0x165667919e3779f9n;
const PRIME_MX2 = 0x9fb21c651e98df25n;

/** The secret in rows of 16 bytes, as the specification prints it. */
const SECRET = Buffer.from(
  `b8 fe 6c 39 23 a4 4b be 7c 01 81 2c f7 21 ad 1c
   de d4 6d e9 83 90 97 db 72 40 a4 a4 b7 b3 67 1f
   cb 79 e6 4e cc c0 e5 78 82 5a d0 7d cc ff 72 21
   b8 08 46 74 f7 43 24 8e e0 35 90 e6 81 3a 26 4c
   3c 28 52 bb 91 c3 00 cb 88 d0 65 8b 1b 53 2e a3
   71 64 48 97 a2 0d f9 4e 38 19 ef 46 a9 de ac d8
   a8 fa 76 3f e3 9c 34 3f f9 dc bb c7 c7 0b 4f 1d
   8a 51 e0 4b cd b4 59 31 c8 9f 7e c9 d9 78 73 64
   ea c5 ac 83 34 d3 eb c3 c5 81 a0 ff fa 13 63 eb
   17 0d dd 51 b7 f0 da 49 d3 16 55 26 29 d4 68 9e
   2b 16 be 58 7d 47 a1 fc 8f f8 b8 d1 7a d0 31 ce
   45 cb 3a 8f 95 16 04 28 af d7 fb ca bb 4b 40 7e`.replace(/\s/g, ''),
  'hex',
);

function u64(bytes: Buffer, at: number): bigint {
  return bytes.readBigUInt64LE(at);
}

function u32(bytes: Buffer, at: number): bigint {
  return BigInt(bytes.readUInt32LE(at));
}

function times(x: bigint, y: bigint): bigint {
  return (x * y) & MASK;
}

function plus(...terms: readonly bigint[]): bigint {
  return terms.reduce((sum, term) => sum + term, 0n) & MASK;
}

function rotate(x: bigint, by: bigint): bigint {
  return ((x << by) | (x >> (64n - by))) & MASK;
}

/** XORs both halves of the 128-bit product. */
function fold(x: bigint, y: bigint): bigint {
  const product = x * y;
  return (product & MASK) ^ (product >> 64n);
}

function avalanche(x: bigint): bigint {
  const mixed = times(x ^ (x >> 37n), PRIME_MX1);
  return mixed ^ (mixed >> 32n);
}

function avalancheOfXxh64(x: bigint): bigint {
  const once = times(x ^ (x >> 33n), PRIME64_2);
  const twice = times(once ^ (once >> 29n), PRIME64_3);
  return twice ^ (twice >> 32n);
}

function mixStep(data: Buffer, at: number, secret: number): bigint {
  return fold(u64(data, at) ^ u64(SECRET, secret), u64(data, at + 8) ^ u64(SECRET, secret + 8));
}

function upTo3(input: Buffer): bigint {
  const { length } = input;
  if (length === 0) return avalancheOfXxh64(u64(SECRET, 56) ^ u64(SECRET, 64));
  const bytes = [input.at(-1)!, length, input[0]!, input[length >> 1]!];
  const combined = bytes.reduce(
    (sum, byte, place) => sum | (BigInt(byte) << BigInt(8 * place)),
    0n,
  );
  return avalancheOfXxh64(u32(SECRET, 0) ^ u32(SECRET, 4) ^ combined);
}

function upTo8(input: Buffer): bigint {
  const { length } = input;
  const combined = u32(input, length - 4) | (u32(input, 0) << 32n);
  let value = u64(SECRET, 8) ^ u64(SECRET, 16) ^ combined;
  value ^= rotate(value, 49n) ^ rotate(value, 24n);
  value = times(value, PRIME_MX2);
  value ^= plus(value >> 35n, BigInt(length));
  value = times(value, PRIME_MX2);
  return value ^ (value >> 28n);
}

function upTo16(input: Buffer): bigint {
  const { length } = input;
  const low = u64(SECRET, 24) ^ u64(SECRET, 32) ^ u64(input, 0);
  const high = u64(SECRET, 40) ^ u64(SECRET, 48) ^ u64(input, length - 8);
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(low);
  return avalanche(plus(BigInt(length), bytes.readBigUInt64LE(), high, fold(low, high)));
}

function upTo128(input: Buffer): bigint {
  const { length } = input;
  let acc = times(BigInt(length), PRIME64_1);
  for (let i = (length - 1) >> 5; i >= 0; i--) {
    acc = plus(acc, mixStep(input, i * 16, i * 32));
    acc = plus(acc, mixStep(input, length - i * 16 - 16, i * 32 + 16));
  }
  return avalanche(acc);
}

function upTo240(input: Buffer): bigint {
  const { length } = input;
  let acc = times(BigInt(length), PRIME64_1);
  for (let i = 0; i < 8; i++) acc = plus(acc, mixStep(input, i * 16, i * 16));
  acc = avalanche(acc);
  for (let i = 8; i < length >> 4; i++) acc = plus(acc, mixStep(input, i * 16, (i - 8) * 16 + 3));
  return avalanche(plus(acc, mixStep(input, length - 16, 119)));
}

function accumulate(acc: bigint[], input: Buffer, at: number, secret: number): void {
  for (let i = 0; i < 8; i++) {
    const data = u64(input, at + 8 * i);
    const value = data ^ u64(SECRET, secret + 8 * i);
    acc[i ^ 1] = plus(acc[i ^ 1]!, data);
    acc[i] = plus(acc[i]!, (value & LOW) * (value >> 32n));
  }
}

function longer(input: Buffer): bigint {
  const { length } = input;
  const acc = [
    ...[PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3],
    ...[PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1],
  ];
  const rounds = Math.floor((length - 1) / 1024);
  for (let round = 0; round < rounds; round++) {
    for (let n = 0; n < 16; n++) accumulate(acc, input, round * 1024 + n * 64, n * 8);
    for (let i = 0; i < 8; i++) {
      const mixed = acc[i]! ^ (acc[i]! >> 47n) ^ u64(SECRET, 128 + i * 8);
      acc[i] = times(mixed, PRIME32_1);
    }
  }
  const stripes = Math.floor((length - 1 - rounds * 1024) / 64);
  for (let n = 0; n < stripes; n++) accumulate(acc, input, rounds * 1024 + n * 64, n * 8);
  accumulate(acc, input, length - 64, 121);
  let result = times(BigInt(length), PRIME64_1);
  for (let i = 0; i < 4; i++) {
    const [x, y] = [acc[2 * i]!, acc[2 * i + 1]!];
    result = plus(result, fold(x ^ u64(SECRET, 11 + 16 * i), y ^ u64(SECRET, 19 + 16 * i)));
  }
  return avalanche(result);
}

/** The digest as 16 hexadecimal digits, the way `xxhsum -H3` prints it. */
export function xxh3Slowly(bytes: Uint8Array): string {
  const input = Buffer.from(bytes);
  const classes = [
    [3, upTo3],
    [8, upTo8],
    [16, upTo16],
    [128, upTo128],
    [240, upTo240],
  ] as const;
  const digest = classes.find(([most]) => input.length <= most)?.[1] ?? longer;
  return digest(input).toString(16).padStart(16, '0');
}

/** The two halves that a kernel returns, as xxh3Slowly prints a digest. */
export function hexOfHalves(low: number, high: number): string {
  return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}
