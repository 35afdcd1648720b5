/** The events of a machine in one thread, which Machine inherits. */
import { oneOf } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { Fault } from '../mm/fault-log.ts';
import type { MachineParts } from '../mm/machine-parts.ts';

const EVENT = oneOf<'fault'>(['fault']);

type Listener = (fault: Fault) => void;

/** What tells a thread of its page faults. */
export abstract class MachineEvents {
  /** @internal */
  abstract get parts(): MachineParts;

  /**
   * Calls `listener` for each page fault that an operation of this thread has caused, by this object
   * or one that was made from it: after the operation, in the order of the faults. A fault that ends
   * in a signal is no event. The same listener is called once, however often it is added. Costs
   * nothing in threads that do not call it.
   */
  on(event: 'fault', listener: (fault: Fault) => void): this {
    EVENT('event', event);
    this.parts.faults.add(asListener(listener));
    return this;
  }

  /** Takes a listener of `on` away. */
  off(event: 'fault', listener: (fault: Fault) => void): this {
    EVENT('event', event);
    this.parts.faults.delete(asListener(listener));
    return this;
  }
}

function asListener(listener: unknown): Listener {
  if (typeof listener !== 'function') throw refusal('listener', listener, 'a function');
  return listener as Listener;
}
