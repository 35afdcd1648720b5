/** The command `convert` and its options. What it does is loaded when it runs. */
import { type Command, Option } from 'commander';
import {
  addCommon,
  addFiles,
  blocksOption,
  parentsOption,
  workersOption,
} from './common-options.ts';
import type { ConvertFlags } from './convert-command.ts';
import { runCommand } from './run-command.ts';
import { wholeNumber } from './sizes.ts';
import { timeoutOption } from './timeout-option.ts';

const MAX_PID = 2 ** 22;

/** Adds the command. */
export function addConvert(program: Command): void {
  const command = program
    .command('convert')
    .description('write an image or a core file in another format')
    .argument('<input>', 'an image or a core file, which is recognised by its first bytes')
    .argument('<output>', 'the file to make')
    .option('--flatten', 'make one image of an image and its parents')
    .addOption(
      new Option('--format <name>', 'a native image, an ELF core file, an OpenVZ 6 file').choices([
        'cpt',
        'elf',
        'openvz',
      ]),
    )
    .option(
      '--mm <n>',
      'take only the address space with this number, from 0 on',
      wholeNumber(0, MAX_PID),
    )
    .addOption(workersOption())
    .addOption(parentsOption())
    .addOption(blocksOption())
    .addOption(timeoutOption());
  addFiles(command);
  addCommon(command).action(async (path: string, output: string, flags: ConvertFlags) => {
    if (flags.flatten !== true && flags.format === undefined) {
      command.error("error: one of '--format <name>' and '--flatten' is needed");
    }
    await runCommand(async (signal) => {
      const run = async (): Promise<number> => {
        const { convertCommand } = await import('./convert-command.ts');
        return await convertCommand(path, output, flags, signal);
      };
      if (flags.format !== 'cpt' && flags.format !== 'elf') return await run(); // without threads
      const { withThreads } = await import('./dump-threads.ts');
      return await withThreads({ path }, flags.workers, run);
    });
  });
}
