/** What a caller searches for: bytes, a text, or a regular expression over bytes. */
import { types } from 'node:util';
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { KiB } from '../../shared/page.ts';

/** Bytes, or an expression whose characters are bytes (latin1). */
export type Wanted =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'expression'; readonly source: string; readonly flags: string };

/** Longest sequence of bytes that is searched for, and most bytes of a match. */
export const PATTERN_MAX: number = 64 * KiB;

/** Assertions, which look at bytes beside the match. */
const ASSERTIONS = ['^', '$', '(?=', '(?!', '(?<=', '(?<!', '\\b', '\\B'];

/** A copy of a view, a text in UTF-8, or an expression. OPTION_INVALID. */
export function wanted(what: string, value: unknown): Wanted {
  if (types.isRegExp(value)) return { kind: 'expression', ...expressionOf(what, value) };
  const bytes = typeof value === 'string' ? Buffer.from(value) : bytesOf(what, value);
  if (bytes.length >= 1 && bytes.length <= PATTERN_MAX) {
    return { kind: 'bytes', bytes: Uint8Array.from(bytes) };
  }
  throw refusal(what, value, `1 to ${PATTERN_MAX} bytes, or a text of so many`);
}

/**
 * An expression that can be searched for in parts: it has no assertion, so that a match depends on
 * its own bytes alone, and does not match nothing. The flags g and d have no effect, and m has none
 * without assertions.
 */
function expressionOf(what: string, value: RegExp): { source: string; flags: string } {
  const copy = copyOf(what, value);
  const { source, flags } = copy;
  const shown = `/${source}/${flags}`;
  if (/[uvy]/.test(flags)) throw refusal(what, shown, 'an expression without the flags u, v and y');
  const found = assertionIn(source);
  if (found !== undefined) {
    throw refusal(what, shown, `an expression over the bytes of a match alone, without ${found}`);
  }
  if (new RegExp(source, flags.replace(/[gd]/g, '')).test('')) {
    throw refusal(what, shown, 'an expression that matches at least one byte');
  }
  return { source, flags: flags.replace(/[^is]/g, '') };
}

/** A copy without what the caller may have added to the object. */
function copyOf(what: string, value: RegExp): RegExp {
  try {
    return new RegExp(value);
  } catch {
    throw refusal(what, value, 'a regular expression that can be read');
  }
}

/** The first assertion in the source of an expression without the flags u and v. */
function assertionIn(source: string): string | undefined {
  let isInClass = false;
  for (let at = 0; at < source.length; at++) {
    const found = ASSERTIONS.find((each) => source.startsWith(each, at));
    if (found !== undefined && !isInClass) return found;
    if (source[at] === '\\') at++;
    else if (source[at] === '[') isInClass = true;
    else if (source[at] === ']') isInClass = false;
  }
  return undefined;
}
