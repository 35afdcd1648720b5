/** The digests over the pages of a block: docs/IMAGE_FORMAT.md, "Digests". */

/** As the file head has it. */
export const DIGEST = { NONE: 0, CRC32: 1, XXH3: 2 } as const;

export type DigestKind = (typeof DIGEST)[keyof typeof DIGEST];

/** What options, heads and the command line call them, by DigestKind. */
export const DIGEST_NAMES = ['none', 'crc32', 'xxh3'] as const;

/** What a block carries over its pages: XXH3-64, crc32, or nothing. */
export type DigestName = (typeof DIGEST_NAMES)[number];

export function digestKindOf(name: DigestName): DigestKind {
  return DIGEST_NAMES.indexOf(name) as DigestKind;
}

/** The digest of a payload, in halves of 32 bits, since 64 would be a BigInt for each block. */
export interface Digest {
  readonly digest: DigestKind;
  readonly low: number;
  /** 0 but for XXH3. */
  readonly high: number;
}

export const NO_DIGEST: Digest = { digest: DIGEST.NONE, low: 0, high: 0 };

/** In hexadecimal, with as many digits as it has: for messages. */
export function digestText({ digest, low, high }: Digest): string {
  const text = (half: number): string => (half >>> 0).toString(16).padStart(8, '0');
  return `0x${digest === DIGEST.XXH3 ? text(high) : ''}${text(low)}`;
}

/** `xxh3 does not match (0x… stored, 0x… computed)`. */
export function mismatchText(stored: Digest, found: Digest): string {
  const name = DIGEST_NAMES[stored.digest];
  return `${name} does not match (${digestText(stored)} stored, ${digestText(found)} computed)`;
}
