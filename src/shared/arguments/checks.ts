/**
 * Checks of arguments. Public functions are also called from programs that no compiler has checked.
 * A `Check` takes a value of unknown type and returns it with the type that it must have. Otherwise
 * it throws an error that says what was expected: OPTION_INVALID, or the code that its maker was
 * given.
 */
import type { ErrorCode } from '../errors.ts';
import { refusal, unknownName } from './refuse.ts';

/** Checks one argument. `what` names the argument in the message. */
export type Check<T> = (what: string, value: unknown) => T;

/** Makes a check that also accepts undefined. */
export function optional<T>(check: Check<T>): Check<T | undefined> {
  return (what, value) => (value === undefined ? undefined : check(what, value));
}

/** Makes a check for a whole number in a range. Both bounds are included. */
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

/** Checks for a whole number below 2^64. Above 2^53 a double holds it only approximately. */
export function unsigned64(what: string, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 64) {
    return value;
  }
  throw refusal(what, value, 'a whole number of 64 bits');
}

/**
 * Checks for a number of any value. Whether the value makes sense is decided by the system call,
 * which fails with Linux's code.
 */
export function number(what: string, value: unknown): number {
  if (typeof value === 'number') return value;
  throw refusal(what, value, 'a number');
}

/** Checks for a boolean. */
export function flag(what: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw refusal(what, value, 'true or false');
}

/** Checks for a string. */
export function text(what: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw refusal(what, value, 'a string');
}

/** Checks for the path of a file that the operating system can take: not empty, and without NUL. */
export function pathname(what: string, value: unknown): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value;
  throw refusal(what, value, 'the path of a file, a string that is not empty and has no NUL');
}

/** Makes a check for an optional callback with one parameter. */
export function listener<T>(): Check<((news: T) => void) | undefined> {
  return callback<(news: T) => void>();
}

/** Makes a check for an optional callback of any kind. */
export function callback<T>(): Check<T | undefined> {
  return optional((what, value) => {
    if (typeof value === 'function') return value as T;
    throw refusal(what, value, 'a function');
  });
}

/**
 * Checks for an AbortSignal. An object with the same interface, as of another realm, is accepted.
 */
export function abortSignal(what: string, value: unknown): AbortSignal {
  if (isInstance(value, AbortSignal)) return value;
  const isLike =
    typeof read(value, 'aborted') === 'boolean' &&
    typeof read(value, 'addEventListener') === 'function' &&
    typeof read(value, 'removeEventListener') === 'function';
  if (isLike) return value as AbortSignal;
  throw refusal(what, value, 'an AbortSignal');
}

/**
 * Makes a check for one of a few names. Another string is refused with `code`, and the message
 * suggests the nearest name. A value that is no string is OPTION_INVALID.
 */
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

/**
 * Makes a check for an array. It returns a copy, which later changes by the caller do not affect.
 */
export function list<T>(check: Check<T>): Check<T[]> {
  return (what, value) => {
    const copy = copyOf(value);
    if (copy === undefined) throw refusal(what, value, 'an array');
    return copy.map((each, index) => check(`${what}[${index}]`, each));
  };
}

/** The elements of an array, with holes as undefined. Undefined if `value` is no array. */
function copyOf(value: unknown): unknown[] | undefined {
  try {
    return isArray(value) ? Array.from(value) : undefined;
  } catch {
    return undefined; // a proxy that throws
  }
}

/** Array.isArray, but false for a revoked proxy, for which Array.isArray throws. */
export function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/**
 * Makes a check for an object of a class. `article` names the class in messages: 'an AddressSpace'.
 * If the value is of a class with the same name, the message says that the package was loaded
 * twice.
 */
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

/** instanceof, but false for a proxy for which instanceof throws, such as a revoked one. */
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

/** Checks for an object of any kind, whose properties the caller of this checks. */
export function anyObject(what: string, value: unknown): object {
  if (typeof value === 'object' && value !== null) return value;
  throw refusal(what, value, 'an object');
}

/** Makes a check for an object that has all these methods. `article` names it in messages. */
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

/** A property of any value. Undefined if there is none, or if reading it throws. */
export function read(value: unknown, name: string): unknown {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function'))
    return undefined;
  try {
    return (value as Record<string, unknown>)[name];
  } catch {
    return undefined;
  }
}
