/** The command `search` and its options. What it does is loaded when it runs. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseAddress } from './explain-options.ts';
import { runCommand } from './run-command.ts';
import type { SearchFlags } from './search-command.ts';
import { wholeNumber } from './sizes.ts';

const MOST = 2 ** 32;

/** Adds the command with the options that it has in common with others. */
export function addSearch(
  program: Command,
  addCommon: (command: Command) => Command,
  options: readonly Option[],
): void {
  const command = program
    .command('search')
    .description(
      'find a text, bytes in hexadecimal, or a regular expression in the pages of an image',
    )
    .argument('<image>')
    .argument('<text, 0xbytes or /expression/flags>')
    .option('--mm <n>', 'search only this address space, from 0 on', wholeNumber(0, MOST))
    .addOption(
      new Option('--prot <rwx>', 'search only mappings that permit this').argParser(parseProt),
    )
    .option('--from <address>', 'first address of a match', parseAddress)
    .option('--to <address>', 'address before which a match ends', parseAddress)
    .option(
      '--max-matches <n>',
      'most matches that are listed (default: 10000)',
      wholeNumber(0, MOST),
    );
  for (const option of options) command.addOption(option);
  addCommon(command).action(async (path: string, wanted: string, flags: SearchFlags) => {
    await runCommand(async (signal) => {
      const { searchCommand } = await import('./search-command.ts');
      return await searchCommand(path, wanted, flags, signal);
    });
  });
}

/** Letters of 'rwx', in this order. */
export function parseProt(text: string): SearchFlags['prot'] & string {
  if (/^r?w?x?$/.test(text)) return text as SearchFlags['prot'] & string;
  throw new InvalidArgumentError("expected letters of 'rwx', in this order.");
}
