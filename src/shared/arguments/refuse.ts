/**
 * Errors about wrong arguments. They name the argument, and say what was found and what was
 * expected. Building the message never throws, whatever the value is.
 */
import { type ErrorCode, MmdumpError } from '../errors.ts';

/**
 * The error for a wrong value:
 *
 *   memory: 'much': expected a whole number from 1048576 to 274877906944
 */
export function refusal(
  what: string,
  found: unknown,
  expected: string,
  code: ErrorCode = 'OPTION_INVALID',
): MmdumpError {
  return new MmdumpError(code, `${what}: ${show(found)}: expected ${expected}`);
}

/** The error for a name that is not known. The message suggests the nearest known name, if any. */
export function unknownName(
  what: string,
  name: string,
  known: readonly string[],
  code: ErrorCode = 'OPTION_INVALID',
): MmdumpError {
  const near = nearest(name, known);
  const advice =
    near === undefined ? `expected one of ${known.join(', ')}` : `did you mean '${near}'?`;
  return new MmdumpError(code, `${what}: ${show(name)} is not known: ${advice}`);
}

const SHOWN = 60; // characters of a string that a message repeats at most

/** Describes a value of any type in a few words. */
export function show(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value.length > SHOWN ? `'${value.slice(0, SHOWN)}…'` : `'${value}'`;
    case 'bigint':
      return `${String(value).slice(0, SHOWN)}n (a BigInt)`;
    case 'symbol':
      return 'a symbol';
    case 'function':
      return 'a function';
    case 'object':
      return value === null ? 'null' : showObject(value);
    default:
      return String(value);
  }
}

function showObject(value: object): string {
  try {
    if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array';
    const name: unknown = value.constructor?.name;
    if (typeof name !== 'string' || name === '' || name === 'Object') return 'an object';
    return `${/^[AEIOU]/i.test(name) ? 'an' : 'a'} ${name.slice(0, SHOWN)}`;
  } catch {
    return 'an object'; // a revoked proxy, or a getter that throws
  }
}

/** The known name that was most likely meant, or undefined if none is close. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const wanted = name.slice(0, SHOWN).toLowerCase();
  let best: string | undefined;
  let least = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of known) {
    const edits = distance(wanted, candidate.toLowerCase());
    if (edits >= least) continue;
    best = candidate;
    least = edits;
  }
  return best;
}

/**
 * The edit distance: the number of insertions, deletions, replacements and swaps of two neighbours.
 */
function distance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      let edits = Math.min(
        last[column]! + 1,
        current[column - 1]! + 1,
        last[column - 1]! + (isSame ? 0 : 1),
      );
      const isSwap = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (row > 1 && column > 1 && isSwap) edits = Math.min(edits, beforeLast[column - 2]! + 1);
      current.push(edits);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length]!;
}
