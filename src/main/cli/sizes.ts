/** Sizes as people write them on a command line: 64M, 1G, 1T, 4096. */
import { InvalidArgumentError } from 'commander';
import { PART_BLOCK, PARTS_MAX } from '../../shared/formats/parts.ts';

const UNITS: { readonly [letter: string]: number } = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

/** The bytes of a size. What this throws, commander turns into a usage error. */
export function parseSize(text: string): number {
  const found = /^(\d+)([KMGT]?)$/i.exec(text);
  const bytes = Number(found?.[1]) * (UNITS[(found?.[2] ?? '').toUpperCase()] ?? Number.NaN);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new InvalidArgumentError(
    `'${text}' is not a size: expected a number, optionally followed by K, M, G or T.`,
  );
}

/** How `--split` cuts an image: into a number of parts, or into parts of a maximum length. */
export type Split = { readonly parts: number } | { readonly partBytes: number };

/** A bare number is the number of parts; a number with a unit is the length of a part. */
export function parseSplit(text: string): Split {
  if (!/^\d+$/.test(text)) {
    const partBytes = parseSize(text);
    if (partBytes >= PART_BLOCK) return { partBytes };
    throw new InvalidArgumentError(`'${text}': a part must have at least ${PART_BLOCK} bytes.`);
  }
  const parts = Number(text);
  if (parts >= 1 && parts <= PARTS_MAX) return { parts };
  throw new InvalidArgumentError(
    `'${text}': expected 1 to ${PARTS_MAX} parts, or the size of a part, such as 512M.`,
  );
}

/** The longest time-out that a timer of Node takes. */
const MAX_SECONDS = (2 ** 31 - 1) / 1000;

/** Seconds, which may have a fraction. */
export function parseSeconds(text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds > 0 && seconds <= MAX_SECONDS) return seconds;
  throw new InvalidArgumentError(
    `'${text}': expected a number of seconds above 0, such as 30 or 0.5.`,
  );
}

/** A whole number from `minimum` to `maximum`. */
export function wholeNumber(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(
      `'${text}': expected a whole number from ${minimum} to ${maximum}.`,
    );
  };
}
