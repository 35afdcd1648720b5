/**
 * A machine has ended: this thread lets go of it. Between two tasks it keeps no object that shows the
 * machine's memory, but the message of the task before, which this one displaces, and garbage, which
 * an idle thread does not collect by itself.
 */
import { collectGarbage } from '../shared/collect-garbage.ts';
import { forgetRooms } from './parts/staging.ts';

/** `machine`: its id. */
export async function letGo({ machine }: { readonly machine: string }): Promise<void> {
  forgetRooms(machine);
  await collectGarbage();
}
