/**
 * The commands of the program and the help. Commands with many options have them in files of their
 * own (`dump-options.ts`, …). What a command does is loaded when it runs: nothing else needs it, and
 * it is most of the program.
 */
import { Command, CommanderError, Option } from 'commander';
import { packageVersion } from '../package/version.ts';
import { addCommon, parentsOption, workersOption } from './common-options.ts';
import { addConvert } from './convert-options.ts';
import { addDiff } from './diff-options.ts';
import { addDump } from './dump-options.ts';
import { addExplain } from './explain-options.ts';
import type { InspectFlags } from './inspect-command.ts';
import type { ReportFlags } from './report-command.ts';
import type { RestoreFlags } from './restore-command.ts';
import { EXIT, runCommand } from './run-command.ts';
import { addSearch } from './search-options.ts';
import { parseSize } from './sizes.ts';
import { suggestChoices } from './suggest-choices.ts';
import { timeoutOption } from './timeout-option.ts';
import type { VerifyFlags } from './verify-command.ts';

/** Runs the command that these arguments name, and sets the exit code of the process. */
export async function runProgram(args: readonly string[]): Promise<void> {
  try {
    await createProgram().parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? EXIT.DONE : EXIT.USAGE;
  }
}

export function createProgram(): Command {
  const program = new Command('mmdump')
    .description('Checkpoints simulated Linux address spaces with all cores at once.')
    .version(packageVersion())
    .showHelpAfterError('(mmdump --help lists the commands and options)')
    .exitOverride();
  addDump(program);
  addInspect(program);
  addVerify(program);
  addRestore(program);
  addConvert(program);
  addReport(program);
  addExplain(program, addCommon, [parentsOption(), timeoutOption()]);
  addSearch(program, addCommon, [parentsOption(), timeoutOption(), workersOption()]);
  addDiff(program, addCommon, [parentsOption(), timeoutOption(), workersOption()]);
  suggestChoices(program);
  return program;
}

function addInspect(program: Command): void {
  const command = program
    .command('inspect')
    .description('list the mappings of an image and the pages that it holds')
    .argument('<image>')
    .addOption(parentsOption())
    .option('--map', 'draw the pages of each mapping, also into a file or a pipe')
    .option('--no-map', 'draw no pages in a terminal either');
  addCommon(command).action(async (path: string, flags: InspectFlags) => {
    await runCommand(async (signal) => {
      const { inspectCommand } = await import('./inspect-command.ts');
      return await inspectCommand(path, flags, signal);
    });
  });
}

function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .description('check the structure and the checksums of an image')
    .argument('<image>')
    .addOption(parentsOption())
    .addOption(timeoutOption())
    .addOption(workersOption());
  addCommon(command).action(async (path: string, flags: VerifyFlags) => {
    await runCommand(async (signal) => {
      const { verifyCommand } = await import('./verify-command.ts');
      return await verifyCommand(path, flags, signal);
    });
  });
}

function addRestore(program: Command): void {
  const command = program
    .command('restore')
    .description('restore an image into a simulated machine')
    .argument('<image>')
    .addOption(parentsOption())
    .option('--check', 'compare every restored page with the image')
    .addOption(
      new Option('--load <when>', "load pages now, or leave them in the image: 'on-demand'")
        .choices(['now', 'on-demand'])
        .default('now'),
    )
    .addOption(timeoutOption())
    .addOption(workersOption())
    .option(
      '--memory <size>',
      'size of the simulated memory (default: as much as is needed)',
      parseSize,
    );
  addCommon(command).action(async (path: string, flags: RestoreFlags) => {
    await runCommand(async (signal) => {
      const { restoreCommand } = await import('./restore-command.ts');
      return await restoreCommand(path, flags, signal);
    });
  });
}

function addReport(program: Command): void {
  const command = program
    .command('report')
    .description('show an image as one HTML page: a map of its memory, tables, how its dump went')
    .argument('<image>')
    .option('-o, --output <file>', 'the page (default: IMAGE.html)')
    .option('--run <file>', 'what dump --json printed: the page then shows how the dump went')
    .option(
      '--embed <size>',
      'include the bytes of the first pages, up to this size: the page then shows them',
      parseSize,
    )
    .option('--force', 'replace an existing file');
  addCommon(command).action(async (path: string, flags: ReportFlags) => {
    await runCommand(async (signal) => {
      const { reportCommand } = await import('./report-command.ts');
      return await reportCommand(path, flags, signal);
    });
  });
}
