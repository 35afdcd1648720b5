/**
 * Options objects. A table says what each key has to be; the compiler makes sure that it has every
 * key of its type, so that an option which is added cannot go unchecked.
 */
import { MmdumpError } from '../errors.ts';
import { type Check, isArray, read } from './checks.ts';
import { refusal, show, unknownName } from './refuse.ts';

/** How each key of an options object is checked. */
export type Shape<T> = { readonly [key in keyof Required<T>]: Check<T[key]> };

/**
 * Checks an options object and returns a copy: every option is read once, so that what was checked is
 * what is used. A key that is not in `shape` is OPTION_INVALID, and so is a wrong value. `what` names
 * the function, or the argument.
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

/** A check for an object within another one. */
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
  // A Map, a Date, a URL have no keys of their own: they would pass for no options at all.
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

/** Made by `{}` or Object.create(null), in this realm or another. */
function isPlain(value: object): boolean {
  try {
    const prototype: unknown = Object.getPrototypeOf(value);
    return prototype === null || Object.getPrototypeOf(prototype) === null;
  } catch {
    return false;
  }
}
