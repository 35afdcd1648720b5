/** `--timeout` of the commands that may work for long. */
import { Option } from 'commander';
import { type Deadline, withDeadline } from '../job/stop.ts';
import { parseSeconds } from './sizes.ts';

export interface TimeoutFlag {
  readonly timeout?: number; // seconds
}

export function timeoutOption(): Option {
  return new Option('--timeout <seconds>', 'give up then, and leave nothing behind').argParser(
    parseSeconds,
  );
}

/** Runs a command under the signal of the program and its own time-out, which covers all of it. */
export function withTimeout(
  { timeout }: TimeoutFlag,
  signal: AbortSignal,
  phase: string,
  command: (deadline: Deadline) => Promise<number>,
): Promise<number> {
  const timeoutMs = timeout === undefined ? undefined : timeout * 1000;
  return withDeadline({ signal, timeoutMs }, phase, command);
}
