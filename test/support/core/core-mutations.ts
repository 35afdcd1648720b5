/** Changes core files in ways that do harm. */
import type { Random } from '../images/image-mutations.ts';

/** Values that readers get wrong. */
const EXTREMES = [
  0n,
  1n,
  7n,
  0xfffn,
  0x1000n,
  0x7fff_ffff_f000n,
  0x8000_0000_0000n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 4096n,
  2n ** 64n - 1n,
];

/** The fields of a program header that are u64. */
const FIELDS = [8, 16, 24, 32, 40, 48];

interface Change {
  readonly name: string;
  readonly apply: (bytes: Buffer, random: Random) => Buffer;
}

/** Program headers that every one of the cores has, also after the header was changed. */
function segments(bytes: Buffer): number {
  return Math.min(6, Math.max(1, bytes.readUInt16LE(56)));
}

function headerAt(bytes: Buffer, random: Random): number {
  return 64 + random.below(segments(bytes)) * 56;
}

function put(bytes: Buffer, at: number, value: bigint): Buffer {
  if (at + 8 <= bytes.length) bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  return bytes;
}

const CHANGES: readonly Change[] = [
  {
    name: 'an extreme field of a program header',
    apply: (bytes, random) => {
      const value = EXTREMES[random.below(EXTREMES.length)]!;
      return put(bytes, headerAt(bytes, random) + FIELDS[random.below(6)]!, value);
    },
  },
  {
    name: 'a neighbouring value of a field',
    apply: (bytes, random) => {
      const at = headerAt(bytes, random) + FIELDS[random.below(6)]!;
      const step = [1n, -1n, 4096n, -4096n, 0x10_0000n][random.below(5)]!;
      return put(bytes, at, bytes.readBigUInt64LE(at) + step);
    },
  },
  {
    name: 'a field of another segment',
    apply: (bytes, random) => {
      const field = FIELDS[random.below(6)]!;
      const value = bytes.readBigUInt64LE(headerAt(bytes, random) + field);
      return put(bytes, headerAt(bytes, random) + field, value);
    },
  },
  {
    name: 'another type of segment, or other flags',
    apply: (bytes, random) => {
      const at = headerAt(bytes, random) + (random.below(2) === 0 ? 0 : 4);
      bytes.writeUInt32LE([0, 1, 2, 4, 7, 0x6474_e551][random.below(6)]!, at);
      return bytes;
    },
  },
  {
    name: 'segments that are swapped',
    apply: (bytes, random) => {
      const [a, b] = [headerAt(bytes, random), headerAt(bytes, random)];
      const first = Buffer.from(bytes.subarray(a, a + 56));
      bytes.copy(bytes, a, b, b + 56);
      first.copy(bytes, b);
      return bytes;
    },
  },
  {
    name: 'another ELF header',
    apply: (bytes, random) => {
      bytes[random.below(64)] = [0, 1, 2, 0x7f, 0xff][random.below(5)]!;
      return bytes;
    },
  },
  {
    name: 'another length in the notes',
    apply: (bytes, random) => {
      const notes = 64 + segments(bytes) * 56;
      const at = notes + random.below(300) * 4;
      if (at + 4 <= bytes.length) {
        bytes.writeUInt32LE(
          [0, 1, 5, 0x1000, 0x7fff_ffff, 0xffff_fff0, 0xffff_ffff][random.below(7)]!,
          at,
        );
      }
      return bytes;
    },
  },
  { name: 'a cut', apply: (bytes, random) => bytes.subarray(0, random.below(bytes.length)) },
  {
    name: 'bits',
    apply: (bytes, random) => {
      for (let left = 1 + random.below(6); left > 0; left--) {
        const at = random.below(Math.min(bytes.length, 2048));
        bytes[at] = bytes[at]! ^ (1 << random.below(8));
      }
      return bytes;
    },
  },
];

/** A core made of one of `cores`, and what was changed. */
export function hostileCore(
  random: Random,
  cores: readonly Buffer[],
): { readonly bytes: Buffer; readonly what: string } {
  let bytes: Buffer = Buffer.from(cores[random.below(cores.length)]!);
  const names: string[] = [];
  for (let left = 1 + random.below(3); left > 0 && bytes.length >= 512; left--) {
    const { name, apply } = CHANGES[random.below(CHANGES.length)]!;
    names.push(name);
    bytes = apply(bytes, random);
  }
  return { bytes, what: names.join(', ') };
}
