/** How a thread gets a machine or an address space: it creates one, or attaches by a handle. */
import { flag, oneOf, optional, read, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { MachineHandle } from '../../shared/machine-handle.ts';
import { threadsOf } from '../mm/control-block.ts';
import { createMachineHandle, type MachineOptions } from '../mm/create-machine.ts';
import { type AttachOptions, MachineParts } from '../mm/machine-parts.ts';
import { unsharedOf } from '../physical/unshared.ts';
import { AddressSpace } from './address-space.ts';
import { type MmHandle, machineHandle, mmHandle } from './handles.ts';
import { rememberView } from './lifetime.ts';
import { Machine } from './machine.ts';

/**
 * Creates a simulated machine in shared memory. The calling thread is attached to it, as a thread
 * that must not block. Throws OPTION_INVALID for options that are not valid or out of their bounds,
 * and MACHINE_TOO_LARGE if the system refuses that much address space.
 */
export function createMachine(options: MachineOptions): Machine {
  const parts = new MachineParts(createMachineHandle(options), { mayBlock: false });
  rememberView(parts, true);
  return new Machine(parts);
}

/**
 * Attaches the calling thread to a machine, by the machine's handle. Throws OPTION_INVALID for any
 * other handle and for a thread id that is not registered, MACHINE_CLOSED, and TOO_MANY_THREADS if
 * no thread id is left.
 */
export function attach(handle: MachineHandle, options?: AttachOptions): Machine;
/**
 * Attaches the calling thread to an address space, by its handle. Throws the same errors as for a
 * machine.
 */
export function attach(handle: MmHandle, options?: AttachOptions): AddressSpace;
export function attach(
  handle: MachineHandle | MmHandle,
  options: AttachOptions = {},
): Machine | AddressSpace {
  const checked = optionsOf('attach', options, ATTACH_OPTIONS);
  if (KIND('handle.kind', read(handle, 'kind')) === 'machine') {
    return new Machine(viewOf(machineHandle('handle', handle), checked));
  }
  const { machine, slot, generation } = mmHandle('handle', handle);
  return new AddressSpace(viewOf(machine, checked), slot, generation);
}

const KIND = oneOf(['machine', 'mm']);
const ATTACH_OPTIONS: Shape<AttachOptions> = {
  thread: optional(wholeNumber(0)),
  mayBlock: optional(flag),
};

function viewOf(handle: MachineHandle, given: AttachOptions): MachineParts {
  const { thread: token } = given;
  const options = withMayBlock(handle, given);
  const threads = threadsOf(handle);
  threads.assertOpen();
  if (token === undefined) {
    const parts = new MachineParts(handle, options);
    rememberView(parts, true);
    return parts;
  }
  const thread = threads.idOf(token);
  if (thread < 0) throw new MmdumpError('OPTION_INVALID', `thread: ${token} is not registered`);
  const parts = new MachineParts(handle, { ...options, thread });
  parts.adopt();
  rememberView(parts, false);
  return parts;
}

/** A thread that owns unshared memory must not sleep: workers would wait for it (crew/ferry.ts). */
function withMayBlock({ control }: MachineHandle, options: AttachOptions): AttachOptions {
  if (unsharedOf(control) === undefined) return options;
  if (options.mayBlock !== true) return { ...options, mayBlock: false };
  const expected = 'false in the thread that owns unshared banks, for which workers wait';
  throw refusal('mayBlock', true, expected);
}
