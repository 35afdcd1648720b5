/**
 * Drops machines that have ended. Between two tasks a thread refers to the memory of a machine
 * in two ways only. One is the message of its last task, which the message of this task replaces.
 * The other is garbage, which an idle thread does not collect by itself.
 */
import { collectGarbage } from '../shared/collect-garbage.ts';

/** Collects the garbage of this thread. */
export async function dropMachines(): Promise<void> {
  await collectGarbage();
}
