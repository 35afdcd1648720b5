/** The command `dump` and its options. What it does is loaded when it runs. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { WORKLOADS, type WorkloadName } from '../workloads/names.ts';
import {
  addCommon,
  addFiles,
  blocksOption,
  choice,
  parentsOption,
  workersOption,
} from './common-options.ts';
import type { DumpFlags } from './dump-request.ts';
import { runCommand } from './run-command.ts';
import { parseSize, wholeNumber } from './sizes.ts';
import { suggestion } from './suggest-choices.ts';
import { timeoutOption } from './timeout-option.ts';

const MAX_PID = 2 ** 22;
/** The random number generator takes a seed of 32 bits. */
const MAX_SEED = 2 ** 32 - 1;

/** Adds the command. */
export function addDump(program: Command): void {
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
    .addOption(blocksOption())
    .addOption(
      choice('--format <name>', 'a native image, an ELF core file, an OpenVZ 6 file', [
        'cpt',
        'elf',
        'openvz',
      ]),
    )
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
    .addOption(
      new Option(
        '--pause <how>',
        'how a workload stands still: for a snapshot in memory only, which is dumped',
      )
        .choices(['fork'])
        .conflicts('pid'),
    )
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

function severalPids(text: string, before: readonly number[] = []): number[] {
  return [...before, wholeNumber(1, MAX_PID)(text)];
}

function parseWorkload(text: string): NonNullable<DumpFlags['workload']> {
  const [name, size, ...rest] = text.split(':');
  if (!isWorkload(name) || rest.length > 0) {
    throw new InvalidArgumentError(
      `expected one of ${WORKLOADS.join(', ')}, optionally followed by :SIZE.` +
        suggestion(name ?? '', WORKLOADS),
    );
  }
  return size === undefined ? { name } : { name, size: parseSize(size) };
}

function isWorkload(name: string | undefined): name is WorkloadName {
  return (WORKLOADS as readonly (string | undefined)[]).includes(name);
}
