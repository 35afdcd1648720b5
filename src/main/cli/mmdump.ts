#!/usr/bin/env node
/** Entry point of the command line. */
import { errnoOf, reasonOf } from '../../shared/errors.ts';
import { runProgram } from './program.ts';
import { EXIT, printError } from './run-command.ts';

// The reader of our output may stop reading, as `head` does. That does not decide whether the
// command succeeds: it goes on, and its exit code stands. Node writes nothing more.
process.stdout.on('error', (error) => {
  if (errnoOf(error) === 'EPIPE') return;
  if (process.stdout.listenerCount('error') > 1) return; // an image goes there: its sink reports it
  printError(`the output cannot be written: ${reasonOf(error)}`);
  process.exitCode = EXIT.FAILED;
});
process.stderr.on('error', () => {}); // there is no place left to report it

await runProgram(process.argv.slice(2));
