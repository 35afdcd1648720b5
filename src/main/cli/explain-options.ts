/** The command `explain` and its options. What it does is loaded when it runs. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { TASK_SIZE } from '../../shared/page.ts';
import type { ExplainFlags } from './explain-command.ts';
import { runCommand } from './run-command.ts';
import { wholeNumber } from './sizes.ts';

const MAX_PID = 2 ** 22;

/** Adds the command with the options that it has in common with others. */
export function addExplain(
  program: Command,
  addCommon: (command: Command) => Command,
  options: readonly Option[],
): void {
  const command = program
    .command('explain')
    .description('say what becomes of one page in a dump and why, or what an image says about it')
    .usage('[options] <image> <address>\n       mmdump explain [options] --pid <pid> <address>')
    .argument('<place...>', 'the image, unless --pid is given, and the address in hexadecimal')
    .addOption(
      new Option('--pid <pid>', 'explain a page of this live process').argParser(
        wholeNumber(1, MAX_PID),
      ),
    )
    .option('--mm <n>', 'address space of the image, from 0 on', wholeNumber(0, MAX_PID));
  for (const option of options) command.addOption(option);
  addCommon(command).action(async (place: readonly string[], flags: ExplainFlags) => {
    if (place.length !== (flags.pid === undefined ? 2 : 1)) {
      command.error("error: an image and an address are needed, or '--pid <pid>' and an address");
    }
    const address = addressIn(command, place.at(-1)!);
    await runCommand(async (signal) => {
      const { explainCommand } = await import('./explain-command.ts');
      return await explainCommand(place[0]!, address, flags, signal);
    });
  });
}

function addressIn(command: Command, text: string): number {
  try {
    return parseAddress(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return command.error(`error: ${error.message}`);
  }
}

/** An address in hexadecimal, with or without 0x, as /proc/PID/maps writes it. */
export function parseAddress(text: string): number {
  const address = /^(0x)?[0-9a-f]+$/i.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (address < TASK_SIZE) return address;
  throw new InvalidArgumentError(`'${text}' is not an address of user space in hexadecimal.`);
}
