/**
 * What public functions are given comes from programs that no compiler may have seen. A `Check` looks
 * at a value of unknown kind and returns it as what it has to be, or throws an error that says what
 * was expected: OPTION_INVALID, or the code that the maker of the check was given.
 */
import type { ErrorCode } from '../errors.ts';
import { refusal, unknownName } from './refuse.ts';

/** `what` names the argument in the message. */
export type Check<T> = (what: string, value: unknown) => T;

/** The value may be left out. */
export function optional<T>(check: Check<T>): Check<T | undefined> {
  return (what, value) => (value === undefined ? undefined : check(what, value));
}

/** A whole number in a range; both bounds belong to it. */
export function wholeNumber(
  minimum: number,
  maximum: number = Number.MAX_SAFE_INTEGER,
): Check<number> {
  return (what, value) => {
    if (isWhole(value) && value >= minimum && value <= maximum) return value;
    const range =
      maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum} on` : `from ${minimum} to ${maximum}`;
    throw refusal(what, value, `a whole number ${range}`);
  };
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

/** A whole number that 64 bits hold, as near as a double comes to it. */
export function unsigned64(what: string, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 64) {
    return value;
  }
  throw refusal(what, value, 'a whole number of 64 bits');
}

/** Any number. Which of them make sense is for a system call to say, with Linux's code. */
export function number(what: string, value: unknown): number {
  if (typeof value === 'number') return value;
  throw refusal(what, value, 'a number');
}

export function flag(what: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw refusal(what, value, 'true or false');
}

export function text(what: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw refusal(what, value, 'a string');
}

/** The path of a file, as the operating system takes it. */
export function pathname(what: string, value: unknown): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value;
  throw refusal(what, value, 'the path of a file, a string that is not empty and has no NUL');
}

/** A function that is told of something now and then; it may be left out. */
export function listener<T>(): Check<((news: T) => void) | undefined> {
  return optional((what, value) => {
    if (typeof value === 'function') return value as (news: T) => void;
    throw refusal(what, value, 'a function');
  });
}

export function abortSignal(what: string, value: unknown): AbortSignal {
  if (isInstance(value, AbortSignal)) return value;
  const isLike =
    typeof read(value, 'aborted') === 'boolean' &&
    typeof read(value, 'addEventListener') === 'function' &&
    typeof read(value, 'removeEventListener') === 'function';
  if (isLike) return value as AbortSignal;
  throw refusal(what, value, 'an AbortSignal');
}

/** One of a few names. Another string is refused with `code`, and with the nearest name. */
export function oneOf<const T extends string>(
  names: readonly T[],
  code: ErrorCode = 'OPTION_INVALID',
): Check<T> {
  return (what, value) => {
    if ((names as readonly unknown[]).includes(value)) return value as T;
    if (typeof value === 'string' && value !== '') throw unknownName(what, value, names, code);
    const kind = typeof value === 'string' ? code : 'OPTION_INVALID';
    throw refusal(what, value, `one of ${names.join(', ')}`, kind);
  };
}

/** An array; returns a copy, which nobody changes afterwards. */
export function list<T>(check: Check<T>): Check<T[]> {
  return (what, value) => {
    const copy = copyOf(value);
    if (copy === undefined) throw refusal(what, value, 'an array');
    return copy.map((each, index) => check(`${what}[${index}]`, each));
  };
}

/** The elements of an array, holes as undefined; undefined for what is no array. */
function copyOf(value: unknown): unknown[] | undefined {
  try {
    return isArray(value) ? Array.from(value) : undefined;
  } catch {
    return undefined; // a proxy that throws
  }
}

/** Array.isArray, which throws for a revoked proxy. */
export function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** The object of a class. `article` is how a message names it: 'an AddressSpace'. */
export function instanceOf<T>(
  type: abstract new (...args: never[]) => T,
  article: string,
): Check<T> {
  return (what, value) => {
    if (isInstance(value, type)) return value;
    const isNamesake = read(read(value, 'constructor'), 'name') === type.name;
    const expected = isNamesake
      ? `${article} of this copy of mmdump: the program has loaded the package twice`
      : article;
    throw refusal(what, value, expected);
  };
}

/** instanceof, which throws for a revoked proxy. */
export function isInstance<T>(
  value: unknown,
  type: abstract new (...args: never[]) => T,
): value is T {
  try {
    return value instanceof type;
  } catch {
    return false; // a proxy that throws
  }
}

/** An object that has these methods, whatever else it is. */
export function objectWith<T extends object>(
  methods: readonly (keyof T & string)[],
  article: string,
): Check<T> {
  return (what, value) => {
    const hasAll =
      typeof value === 'object' && methods.every((name) => typeof read(value, name) === 'function');
    if (hasAll) return value as T;
    throw refusal(what, value, article);
  };
}

/** A property of anything; undefined where there is none, or where it cannot be read. */
export function read(value: unknown, name: string): unknown {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function'))
    return undefined;
  try {
    return (value as Record<string, unknown>)[name];
  } catch {
    return undefined;
  }
}
