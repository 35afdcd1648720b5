/** The option `--timeout`, which commands have that may take long. */
import { Option } from 'commander';
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
