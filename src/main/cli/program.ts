/**
 * The commands of the program, their options, and the help. What a command does is loaded when it
 * runs: nothing else needs it, and it is most of the program.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { WORKERS_MAX } from '../crew/crew.ts';
import { packageVersion } from '../package/version.ts';
import { WORKLOADS, type WorkloadName } from '../workloads/names.ts';
import type { ConvertFlags } from './convert-command.ts';
import type { DumpFlags } from './dump-request.ts';
import type { InspectFlags } from './inspect-command.ts';
import type { ReportFlags } from './report-command.ts';
import type { RestoreFlags } from './restore-command.ts';
import { EXIT, runCommand } from './run-command.ts';
import { parseSize, parseSplit, wholeNumber } from './sizes.ts';
import { timeoutOption } from './timeout-option.ts';
import type { VerifyFlags } from './verify-command.ts';

const MAX_PID = 2 ** 22;
const BLOCKS_HELP = 'one block per run of pages, or per page';
/** The random number generator takes a seed of 32 bits. */
const MAX_SEED = 2 ** 32 - 1;

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
  return program;
}

/** Options that every command has. */
function addCommon(command: Command): Command {
  return command
    .option('--json', 'print one JSON object on standard output, and nothing else')
    .option('--quiet', 'print only errors, warnings and what --json prints');
}

function workersOption(): Option {
  return new Option(
    '--workers <n>',
    'number of worker threads (default: chosen by the size of the work)',
  ).argParser(wholeNumber(1, WORKERS_MAX));
}

function choice(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, description).choices(choices).default(choices[0]);
}

/** The option that names images which another image needs. */
function parentsOption(): Option {
  return new Option(
    '--parents <images...>',
    'images that the image needs (default: found in its directory, as *.cpt)',
  );
}

function addDump(program: Command): void {
  const command = program
    .command('dump')
    .description('dump a live process, a core file or a built-in workload into an image');
  addSource(command);
  addOutput(command);
  command
    .addOption(workersOption())
    .addOption(choice('--zero-pages <how>', 'what to do with pages of zeros', ['detect', 'copy']))
    .addOption(
      choice('--checksum <kind>', 'kind of the checksum of each block', ['xxh3', 'crc32', 'none']),
    )
    .addOption(choice('--compress <how>', 'how blocks are compressed', ['none', 'zstd']))
    .addOption(choice('--blocks <unit>', BLOCKS_HELP, ['run', 'page']))
    .addOption(choice('--format <name>', 'a native image, or an ELF core file', ['cpt', 'elf']))
    .option(
      '--mm <n>',
      'dump only the address space with this number, from 0 on',
      wholeNumber(0, MAX_PID),
    )
    .addOption(
      choice('--unsupported <policy>', 'what to do with unsupported pages', [
        'fail',
        'skip',
        'copy',
      ]),
    )
    .addOption(
      choice('--hugetlb <policy>', 'what to do with VM_HUGETLB mappings', ['fail', 'skip', 'copy']),
    )
    .option(
      '--no-freeze',
      'let the process run during the dump: its mappings are of one instant, its pages are not',
    )
    .option('--parent <image>', 'leave out pages that are the same in this image')
    .addOption(parentsOption())
    .option('--dontdump', 'honour VM_DONTDUMP: store no pages of such mappings')
    .addOption(timeoutOption());
  addCommon(command).action(async (flags: DumpFlags) => {
    if (flags.pid === undefined && flags.workload === undefined && flags.core === undefined) {
      command.error(
        "error: one of '--pid <pid>', '--core <file>' and '--workload <name>' is needed",
      );
    }
    await runCommand(async (signal) => {
      const { dumpCommand } = await import('./dump-command.ts');
      return await dumpCommand(flags, signal);
    });
  });
}

/** What is dumped. */
function addSource(command: Command): void {
  command
    .addOption(
      new Option(
        '--pid <pid>',
        'dump this live process, which is stopped while it is read; may be repeated',
      )
        .argParser(severalPids)
        .conflicts('workload'),
    )
    .addOption(
      new Option('--children', 'also dump all descendants of the processes').conflicts('workload'),
    )
    .addOption(
      new Option('--core <file>', 'dump the process of this ELF core file').conflicts([
        'pid',
        'children',
        'workload',
      ]),
    )
    .addOption(
      new Option('--workload <name[:size]>', `one of ${WORKLOADS.join(', ')}`).argParser(
        parseWorkload,
      ),
    )
    .option('--seed <n>', 'seed of the workload', wholeNumber(0, MAX_SEED))
    .option(
      '--memory <size>',
      'size of the simulated memory (default: as much as is needed)',
      parseSize,
    );
}

/** Where an image goes, and how. */
function addOutput(command: Command): void {
  command
    .option(
      '-o, --output <file>',
      "the image; '-' is standard output (default: NAME.cpt, PID.cpt or CORE.cpt, with .core for a core file)",
    )
    .option('--size-limit <size>', 'fail if the image would be larger than this', parseSize)
    .option(
      '--dry-run',
      'report what the image would hold and how long it would be, but write nothing',
    );
  addFiles(command);
}

/** How the files of an image are written. */
function addFiles(command: Command): void {
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

function addInspect(program: Command): void {
  const command = program
    .command('inspect')
    .description('list the mappings of an image and the pages that it holds')
    .argument('<image>')
    .addOption(parentsOption());
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

/** What is made of the image is an option, so that other formats can be options as well. */
function addConvert(program: Command): void {
  const command = program
    .command('convert')
    .description('make another image of an image')
    .argument('<image>')
    .argument('<output>')
    .option('--flatten', 'make one image of an image and its parents')
    .addOption(parentsOption())
    .addOption(choice('--blocks <unit>', BLOCKS_HELP, ['run', 'page']))
    .addOption(timeoutOption());
  addFiles(command);
  addCommon(command).action(async (path: string, output: string, flags: ConvertFlags) => {
    if (flags.flatten !== true) command.error("error: the option '--flatten' is needed");
    await runCommand(async (signal) => {
      const { convertCommand } = await import('./convert-command.ts');
      return await convertCommand(path, output, flags, signal);
    });
  });
}

function severalPids(text: string, before: readonly number[] = []): number[] {
  return [...before, wholeNumber(1, MAX_PID)(text)];
}

function parseWorkload(text: string): NonNullable<DumpFlags['workload']> {
  const [name, size, ...rest] = text.split(':');
  if (!isWorkload(name) || rest.length > 0) {
    throw new InvalidArgumentError(
      `expected one of ${WORKLOADS.join(', ')}, optionally followed by :SIZE.`,
    );
  }
  return size === undefined ? { name } : { name, size: parseSize(size) };
}

function isWorkload(name: string | undefined): name is WorkloadName {
  return (WORKLOADS as readonly (string | undefined)[]).includes(name);
}
