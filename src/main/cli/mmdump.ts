#!/usr/bin/env node
/**
 * Entry point of the command line. It loads little by itself, and answers `--version` without the
 * rest of the program: a script may ask for it each time that it runs.
 */
import { errnoOf, reasonOf } from '../../shared/errors.ts';
import { packageVersion } from '../package/version.ts';
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

const [first, ...others] = process.argv.slice(2);
if ((first === '--version' || first === '-V') && others.length === 0) {
  process.stdout.write(`${packageVersion()}\n`); // as the program below answers it
} else {
  const { runProgram } = await import('./program.ts');
  await runProgram(process.argv.slice(2));
}
