/** Options that several commands have. */
import { type Command, Option } from 'commander';
import { WORKERS_MAX } from '../crew/crew.ts';
import { parseSplit, wholeNumber } from './sizes.ts';

/** Options that every command has. */
export function addCommon(command: Command): Command {
  return command
    .option('--json', 'print one JSON object on standard output, and nothing else')
    .option('--quiet', 'print only errors, warnings and what --json prints');
}

export function workersOption(): Option {
  return new Option(
    '--workers <n>',
    'number of worker threads (default: chosen by the size of the work)',
  ).argParser(wholeNumber(1, WORKERS_MAX));
}

/** An option with these choices, of which the first one is the default. */
export function choice(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, description).choices(choices).default(choices[0]);
}

/** The option that names images which another image needs. */
export function parentsOption(): Option {
  return new Option(
    '--parents <images...>',
    'images that the image needs (default: found in its directory, as *.cpt)',
  );
}

/** The option that says how pages become blocks. */
export function blocksOption(): Option {
  return choice('--blocks <unit>', 'one block per run of pages, or per page', ['run', 'page']);
}

/** How the files of an image are written. */
export function addFiles(command: Command): void {
  command
    .option(
      '--split <n or size>',
      'write so many files, or files of at most this size (512M), named FILE.000 and so on',
      parseSplit,
    )
    .option('--force', 'replace an existing image')
    .option(
      '--no-sync',
      'do not wait until the image is on the disk: a power failure may lose or damage it',
    );
}
