/** Runs programs in a pseudo terminal, which script(1) of util-linux makes. */
import { spawnSync } from 'node:child_process';

/** Whether script(1) is there and knows the options of util-linux. */
export const hasPseudoTerminals: boolean =
  spawnSync('script', ['-qec', 'stty size', '/dev/null'], { stdio: ['pipe', 'pipe', 'pipe'] })
    .status === 0;

export interface TerminalRun {
  readonly columns: number;
  readonly folder: string;
  /** Added to the environment; undefined removes a variable. */
  readonly env?: { readonly [name: string]: string | undefined };
}

/** What the terminal shows in the end. Both outputs of the program come in one text. */
export interface Shown {
  readonly status: number | null;
  readonly text: string;
}

/** Variables that say something about colours and widths: a test sets what it needs. */
const NEUTRAL = {
  COLUMNS: undefined,
  FORCE_COLOR: undefined,
  NO_COLOR: undefined,
  NODE_DISABLE_COLORS: undefined,
  LC_ALL: undefined,
  LC_CTYPE: undefined,
  LANG: 'C.UTF-8',
  TERM: 'xterm',
};

/** Runs a command line of the shell in a terminal with so many columns. */
export function runInTerminal(command: string, { columns, folder, env = {} }: TerminalRun): Shown {
  const line = `stty cols ${columns} rows 24; ${command}`;
  const { status, stdout } = spawnSync('script', ['-qec', line, '/dev/null'], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, ...NEUTRAL, ...env, SHELL: '/bin/sh' },
  });
  return { status, text: stdout.replaceAll('\r\n', '\n') };
}
