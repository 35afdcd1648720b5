/** What `--timeout` does. A file of its own, because the list of options is read without it. */
import { type Deadline, withDeadline } from '../job/stop.ts';
import type { TimeoutFlag } from './timeout-option.ts';

/** Runs a command until it ends, the program's signal fires, or its own time-out is over. */
export function withTimeout(
  { timeout }: TimeoutFlag,
  signal: AbortSignal,
  phase: string,
  command: (deadline: Deadline) => Promise<number>,
): Promise<number> {
  const timeoutMs = timeout === undefined ? undefined : timeout * 1000;
  return withDeadline({ signal, timeoutMs }, phase, command);
}
