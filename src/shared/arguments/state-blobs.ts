/** State that is kept beside memory: bytes under names, as callers give it. */
import { STATE_NAME_MAX, STATES_MAX } from '../formats/cpt/records.ts';
import { bytesOf } from './bytes.ts';
import type { Check } from './checks.ts';
import { namedValues } from './options.ts';
import { refusal } from './refuse.ts';

/** Bytes by name, ascending by the UTF-8 bytes of the names. */
export type StateBlobs = ReadonlyMap<string, Uint8Array>;

/** Checks that a value is an object with anything under names. `copyState` does the rest. */
export const STATE: Check<{ readonly [name: string]: ArrayBufferView }> = (what, value) => {
  const entries = namedValues(what, value, 'an object with bytes under names');
  return Object.fromEntries(entries) as { [name: string]: ArrayBufferView };
};

/**
 * Copies the bytes. OPTION_INVALID if a name or a value is none, if there are more than STATES_MAX,
 * or more than `limit` bytes of them; `why` says where that limit comes from.
 */
export function copyState(
  state: { readonly [name: string]: ArrayBufferView },
  limit: number,
  why: string,
): StateBlobs {
  const named = Object.entries(state).map(([name, value]) => {
    return [name, nameBytes(name), bytesOf(`state.${name}`, value)] as const;
  });
  if (named.length > STATES_MAX) {
    throw refusal('state: names', named.length, `at most ${STATES_MAX}`);
  }
  const bytes = named.reduce((sum, [, , view]) => sum + view.length, 0);
  if (bytes > limit) throw refusal('state: bytes', bytes, `at most ${limit} (${why})`);
  named.sort(([, a], [, b]) => Buffer.compare(a, b));
  return new Map(named.map(([name, , view]) => [name, Uint8Array.from(view)]));
}

/** The UTF-8 bytes of a name. A lone surrogate has none. */
function nameBytes(name: string): Buffer {
  const utf8 = Buffer.from(name);
  const isText = utf8.toString() === name;
  if (isText && utf8.length > 0 && utf8.length <= STATE_NAME_MAX) return utf8;
  throw refusal('state: name', name, `text of 1 to ${STATE_NAME_MAX} bytes`);
}
