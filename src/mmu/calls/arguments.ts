/**
 * Checks of the types of system call arguments, for programs that no compiler has checked. An
 * argument of a wrong type is OPTION_INVALID before the call begins. Values of the right type are
 * checked by the call itself, with Linux's error codes.
 */
import { number } from '../../shared/arguments/checks.ts';

/** Throws OPTION_INVALID unless all values are numbers. `call` is the name of the system call. */
export function assertNumbers(call: string, values: { readonly [name: string]: unknown }): void {
  for (const name in values) number(`${call}: ${name}`, values[name]);
}
