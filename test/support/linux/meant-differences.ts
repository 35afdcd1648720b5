/**
 * Lists where the simulated machine intentionally differs from Linux, and where Linux itself
 * varies. Both sides omit a step that an entry names.
 */
import type { Action, Step } from './history.ts';
import { readSetting } from './running-kernel.ts';

/** The release whose rules the simulated machine follows. */
export const MODEL_RELEASE = '6.18';

export interface MeantDifference {
  readonly what: string;
  readonly why: string;
  readonly treatment: string;
  /**
   * Whether a step after `earlier` ones is omitted. Absent: the comparison does not see the
   * difference.
   */
  readonly leavesOut?: (action: Action, earlier: readonly Action[]) => boolean;
}

const MMAP_FLAGS = [
  'private',
  'shared',
  'anonymous',
  'fixed',
  'fixed_noreplace',
  'noreserve',
  'growsdown',
  'denywrite',
  'locked',
  'populate',
];
const ADVICE = [
  'normal',
  'random',
  'sequential',
  'willneed',
  'dontneed',
  'free',
  'hugepage',
  'nohugepage',
  'dontdump',
  'dodump',
  'dontfork',
  'dofork',
  'wipeonfork',
  'keeponfork',
  'mergeable',
  'unmergeable',
  'cold',
  'pageout',
  'populate_read',
  'populate_write',
  'guard_install',
  'guard_remove',
];
const CALL_FLAGS: { readonly [op: string]: readonly string[] } = {
  mmap: MMAP_FLAGS,
  mremap: ['maymove', 'fixed', 'dontunmap'],
  mlock: ['onfault'],
  msync: ['async', 'sync', 'invalidate'],
};
const HUGE_PAGES = 512;
/** mmap_min_addr in pages from the window. */
const LOWEST_PAGE = 16 - 2 ** 32;

const hasProtectionKeys = /^flags\b.*\bospke\b/m.test(readSetting('/proc/cpuinfo'));

export const MEANT_DIFFERENCES: readonly MeantDifference[] = [
  {
    what: 'flags, advice and protections that the interface has no name for',
    why: 'MAP_STACK, MAP_SYNC, MADV_REMOVE, PROT_GROWSDOWN and the like are not simulated',
    treatment: 'such calls are left out',
    leavesOut: (action) =>
      ('prot' in action && !/^r?w?x?$/.test(action.prot)) ||
      ('advice' in action && !ADVICE.includes(action.advice)) ||
      ('flags' in action && !action.flags.every((flag) => CALL_FLAGS[action.op]!.includes(flag))),
  },
  {
    what: "'private' together with 'shared' for a file",
    why: 'Linux reads the two bits as MAP_SHARED_VALIDATE; mmdump says EINVAL',
    treatment: 'such calls are left out',
    leavesOut: (action) =>
      action.op === 'mmap' &&
      action.file >= 0 &&
      action.flags.includes('private') &&
      action.flags.includes('shared'),
  },
  {
    what: 'mappings below mmap_min_addr',
    why: 'a privileged process may have them; mmdump gives them to nobody',
    treatment: 'such calls are left out',
    leavesOut: (action) => {
      const isLow = (page: number): boolean => page < LOWEST_PAGE;
      if (action.op === 'mremap') return isLow(action.newAt);
      return action.op === 'mmap' && isLow(action.at);
    },
  },
  {
    what: 'mappings of terabytes that would fit the address space',
    why: 'Linux weighs them against the memory and swap of the machine (overcommit)',
    treatment: 'mappings of 4 TiB to 128 TiB are left out',
    leavesOut: (action) => {
      if (action.op !== 'mmap' && action.op !== 'mremap') return false;
      const pages = action.op === 'mmap' ? action.pages : action.newPages;
      return pages >= 2 ** 30 && pages < 2 ** 35;
    },
  },
  {
    what: 'mappings that may be executed only',
    why: 'with protection keys (ospke) Linux makes them unreadable; without, as in mmdump, not',
    treatment: 'left out where the processor has protection keys',
    leavesOut: (action) => hasProtectionKeys && 'prot' in action && action.prot === 'x',
  },
  {
    what: 'locked memory, without privilege',
    why: 'Linux has a limit (RLIMIT_MEMLOCK), which only root may raise; mmdump has none',
    treatment: 'left out unless the tests run as root',
    leavesOut: (action) =>
      process.getuid?.() !== 0 &&
      (action.op === 'mlock' || (action.op === 'mmap' && action.flags.includes('locked'))),
  },
  {
    what: 'content after MADV_FREE',
    why: 'the kernel may drop the pages later; without want of memory it does not',
    treatment: 'compared: neither side is short of memory',
  },
  {
    what: 'which pages of a file are in memory, for mincore',
    why: 'depends on reading ahead; files of a history have just been written and fit',
    treatment: 'compared: all pages are in the page cache on both sides',
  },
  {
    what: 'which pages are in memory after MADV_PAGEOUT',
    why: 'Linux drops clean pages of shared memory and of files, if no processor still batches them',
    treatment: 'mincore is left out once pages have been paged out',
    leavesOut: (action, earlier) =>
      action.op === 'mincore' &&
      earlier.some((before) => before.op === 'madvise' && before.advice === 'pageout'),
  },
  {
    what: 'a hint for 2 MiB or more of a file on a disk',
    why: 'some file systems take a hint only if 2 MiB more are free behind it (ext4, for huge pages)',
    treatment: 'such calls are left out',
    leavesOut: (action) =>
      action.op === 'mmap' &&
      action.file >= 0 &&
      action.pages >= HUGE_PAGES &&
      !action.flags.some((flag) => flag.startsWith('fixed')),
  },
  {
    what: 'places that the kernel chooses',
    why: 'they depend on the rest of the address space and on randomisation',
    treatment: "both sides print 'elsewhere' and unmap the mapping again",
  },
  {
    what: 'letters of VmFlags that depend on the configuration (sd, um, uw, gu …)',
    why: 'soft-dirty, userfaultfd and guard markers in VMAs are not simulated',
    treatment: 'not printed',
  },
  {
    what: 'reads of private anonymous memory that nobody wrote',
    why: 'some kernels map the zero page, others a fresh page: both are rules of Linux',
    treatment: 'compared: the kernel is asked, and the machine is made of the same kind',
  },
  {
    what: 'other releases of Linux',
    why:
      'rules change: mprotect gives accounting back since 6.7, guard pages exist since 6.13 (in ' +
      'files 6.15), merging with faulted neighbours changed in 6.16, moves of several VMAs in 6.17',
    treatment: `the test runs on ${MODEL_RELEASE} and later, and skips elsewhere`,
  },
  {
    what: 'settings: vm.overcommit_memory 2, transparent huge pages always or never',
    why: 'they change flags of mappings, and which pages a fault brings',
    treatment: 'the test skips',
  },
];

/** Returns the steps that mean the same on both sides. */
export function withoutMeantDifferences(steps: readonly Step[]): Step[] {
  const kept: Step[] = [];
  for (const step of steps) {
    if (!MEANT_DIFFERENCES.some(({ leavesOut }) => leavesOut?.(step, kept))) kept.push(step);
  }
  return kept;
}

/** Returns why this kernel cannot be compared at all; undefined if it can. */
export function notComparable(release: string): string | undefined {
  const [major = 0, minor = 0] = release.split('.').map(Number.parseFloat);
  const [modelMajor = 0, modelMinor = 0] = MODEL_RELEASE.split('.').map(Number);
  if (major < modelMajor || (major === modelMajor && minor < modelMinor)) {
    return `this kernel is ${release}, the rules are those of ${MODEL_RELEASE}`;
  }
  if (readSetting('/proc/sys/vm/overcommit_memory') === '2') {
    return 'vm.overcommit_memory is 2: MAP_NORESERVE means nothing';
  }
  const huge = readSetting('/sys/kernel/mm/transparent_hugepage/enabled');
  if (!huge.includes('[madvise]')) return `huge pages are not for those who ask: '${huge}'`;
  return undefined;
}
