/** The digests of the pages of a block: see docs/IMAGE_FORMAT.md, "Records". */

/** The numbers by which the file head names them. */
export const DIGEST = { NONE: 0, CRC32: 1, XXH3: 2 } as const;

/** One of the numbers in DIGEST. */
export type DigestKind = (typeof DIGEST)[keyof typeof DIGEST];

/** Their names in options, in decoded heads and on the command line. The index is a DigestKind. */
export const DIGEST_NAMES = ['none', 'crc32', 'xxh3'] as const;

/** The digest that each block carries of its pages: XXH3-64, crc32, or none. */
export type DigestName = (typeof DIGEST_NAMES)[number];

/** The number of a digest, from its name. */
export function digestKindOf(name: DigestName): DigestKind {
  return DIGEST_NAMES.indexOf(name) as DigestKind;
}

/** A digest in two halves of 32 bits. One number of 64 bits would be a BigInt per block. */
export interface Digest {
  readonly digest: DigestKind;
  readonly low: number;
  /** 0, unless the digest is XXH3. */
  readonly high: number;
}

/** Whether two digests of one kind are the same. Halves may be signed or unsigned. */
export function isSameDigest(a: Digest, b: Digest): boolean {
  return (a.low | 0) === (b.low | 0) && (a.high | 0) === (b.high | 0);
}

/** The digest of a payload that has none. */
export const NO_DIGEST: Digest = { digest: DIGEST.NONE, low: 0, high: 0 };

/** A digest in hexadecimal, with 16 digits for XXH3 and 8 otherwise, for messages. */
export function digestText({ digest, low, high }: Digest): string {
  const text = (half: number): string => (half >>> 0).toString(16).padStart(8, '0');
  return `0x${digest === DIGEST.XXH3 ? text(high) : ''}${text(low)}`;
}

/** The message `xxh3 does not match (0x… stored, 0x… computed)`. */
export function mismatchText(stored: Digest, found: Digest): string {
  const name = DIGEST_NAMES[stored.digest];
  return `${name} does not match (${digestText(stored)} stored, ${digestText(found)} computed)`;
}
