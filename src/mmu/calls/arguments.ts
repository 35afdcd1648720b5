/**
 * Types of arguments of system calls. In a program that no compiler has seen they may be anything: what
 * is not even of the right type is OPTION_INVALID, before the call begins. Which values make sense is
 * for the call itself to say, with Linux's codes.
 */
import { number } from '../../shared/arguments/checks.ts';

/** OPTION_INVALID unless all of these are numbers; `call` names the system call. */
export function assertNumbers(call: string, values: { readonly [name: string]: unknown }): void {
  for (const name in values) number(`${call}: ${name}`, values[name]);
}
