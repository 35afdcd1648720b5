/** The option `--timeout`, which commands have that may take long. */
import { Option } from 'commander';
import { type Deadline, withDeadline } from '../job/stop.ts';
import { parseSeconds } from './sizes.ts';

export interface TimeoutFlag {
  readonly timeout?: number; // seconds
}

export function timeoutOption(): Option {
  return new Option(
    '--timeout <seconds>',
    'give up after this time, and leave nothing behind',
  ).argParser(parseSeconds);
}

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
