#!/usr/bin/env node
/** The entry of the command line. */
import { CommanderError } from 'commander';
import { errnoOf } from '../../shared/errors.ts';
import { createProgram } from './program.ts';
import { EXIT } from './run-command.ts';

// Whoever reads our output may stop reading, as `head` does: that is no failure.
process.stdout.on('error', (error) => {
  if (errnoOf(error) !== 'EPIPE') throw error;
  process.exit(EXIT.DONE);
});

try {
  await createProgram().parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.DONE : EXIT.USAGE;
}
