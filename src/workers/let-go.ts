/**
 * A machine has ended: this thread lets go of it. Between two tasks it keeps no object that shows the
 * machine's memory, but the message of the task before, which this task's own displaces, and garbage,
 * which an idle thread does not collect by itself.
 */
import { collectGarbage } from '../shared/collect-garbage.ts';

export async function letGo(): Promise<void> {
  await collectGarbage();
}
