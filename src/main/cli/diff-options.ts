/** The command `diff` and its options. What it does is loaded when it runs. */
import type { Command, Option } from 'commander';
import type { DiffFlags } from './diff-command.ts';
import { EXIT, runCommand } from './run-command.ts';
import { wholeNumber } from './sizes.ts';

const PAGES_MOST = 2 ** 32;

/** Adds the command with the options that it has in common with others. */
export function addDiff(
  program: Command,
  addCommon: (command: Command) => Command,
  options: readonly Option[],
): void {
  const command = program
    .command('diff')
    .description(
      'tell what differs between two images: exit code 0 nothing, 1 something, 2 trouble',
    )
    .argument('<left>')
    .argument('<right>')
    .option(
      '--max-pages <n>',
      'most pages and runs that --json lists (default: 10000)',
      wholeNumber(0, PAGES_MOST),
    );
  for (const option of options) command.addOption(option);
  addCommon(command).action(async (left: string, right: string, flags: DiffFlags) => {
    await runCommand(async (signal) => {
      const { diffCommand } = await import('./diff-command.ts');
      return await diffCommand(left, right, flags, signal);
    }, EXIT.USAGE);
  });
}
