/**
 * Options objects. A table says how each key is checked. The compiler requires the table to have
 * every key of the type, so an option that is added later cannot remain unchecked.
 */
import { MmdumpError } from '../errors.ts';
import { type Check, isArray, read } from './checks.ts';
import { refusal, show, unknownName } from './refuse.ts';

/** The check for each key of an options object. */
export type Shape<T> = { readonly [key in keyof Required<T>]: Check<T[key]> };

/**
 * Checks an options object and returns a copy. Each option is read exactly once, so the value that
 * was checked is the value that is used. OPTION_INVALID if the object has a key that `shape` does
 * not have, or if a value is wrong. `what` names the function or the argument in messages.
 */
export function optionsOf<T extends object>(what: string, value: unknown, shape: Shape<T>): T {
  assertObject(what, value, shape);
  const options: Record<string, unknown> = {};
  for (const key in shape) options[key] = shape[key](key, readOption(value as object, key));
  return options as T;
}

function readOption(options: object, key: string): unknown {
  try {
    return (options as Record<string, unknown>)[key];
  } catch (error) {
    throw new MmdumpError('OPTION_INVALID', `${key}: its value cannot be read`, {}, error);
  }
}

/**
 * The values of a plain object by their names, which the caller chooses. Each is read once.
 * OPTION_INVALID if it is no such object; `expected` says what the values are.
 */
export function namedValues(what: string, value: unknown, expected: string): [string, unknown][] {
  if (typeof value !== 'object' || value === null || isArray(value) || !isPlain(value)) {
    throw refusal(what, value, expected);
  }
  const keys = keysOf(value);
  if (keys === undefined) throw refusal(what, value, 'an object that can be read');
  return keys.map((key) => [key, readOption(value, key)]);
}

/** Makes a check for an options object inside another one. */
export function record<T extends object>(shape: Shape<T>): Check<T> {
  return (what, value) => optionsOf(what, value, shape);
}

function assertObject<T>(what: string, value: unknown, shape: Shape<T>): void {
  const known = Object.keys(shape);
  const expected = `an object with ${known.join(', ')}`;
  if (typeof value !== 'object' || value === null || isArray(value)) {
    throw refusal(what, value, expected);
  }
  const keys = keysOf(value);
  if (keys === undefined) throw refusal(what, value, 'an object that can be read');
  for (const key of keys) {
    if (!Object.hasOwn(shape, key)) throw unknownName(`${what}: option`, key, known);
  }
  // A Map, a Date or a URL has no keys of its own, and must not be taken for empty options.
  if (keys.length > 0 || isPlain(value) || known.some((key) => read(value, key) !== undefined)) {
    return;
  }
  throw refusal(what, value, `${expected}, not ${show(value)}`);
}

function keysOf(value: object): string[] | undefined {
  try {
    return Object.keys(value);
  } catch {
    return undefined; // a proxy that throws
  }
}

/** Whether the object was made by `{}` or Object.create(null), in this realm or another one. */
function isPlain(value: object): boolean {
  try {
    const prototype: unknown = Object.getPrototypeOf(value);
    return prototype === null || Object.getPrototypeOf(prototype) === null;
  } catch {
    return false;
  }
}
