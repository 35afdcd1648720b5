#!/usr/bin/env node
/** The entry of the command line. */
import { errnoOf, reasonOf } from '../../shared/errors.ts';
import { runProgram } from './program.ts';
import { EXIT, printError } from './run-command.ts';

// Whoever reads our output may stop reading, as `head` does: that is no failure, and no success
// either. The command goes on and its exit code stands; Node writes nothing more.
process.stdout.on('error', (error) => {
  if (errnoOf(error) === 'EPIPE') return;
  if (process.stdout.listenerCount('error') > 1) return; // an image goes there, and its sink knows
  printError(`the output cannot be written: ${reasonOf(error)}`);
  process.exitCode = EXIT.FAILED;
});
process.stderr.on('error', () => {}); // there is nobody left who could be told

await runProgram(process.argv.slice(2));
