/** What the place can show that a text is printed to: how wide it is, colours, block characters. */
import { styleText } from 'node:util';

/** What is known of an output. */
export interface Screen {
  /** It is a terminal. All else is a file or a pipe, where lines stay as they are. */
  readonly isTerminal: boolean;
  /** Columns of the terminal; Infinity for other outputs. */
  readonly width: number;
  readonly hasColours: boolean;
  /** Characters beyond ASCII are shown. Only terminals get them. */
  readonly isUnicode: boolean;
}

/** A stream, as far as it says what it is. */
export interface OutputStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export type Environment = { readonly [name: string]: string | undefined };

/** Styles of `styleText` that the program uses. */
export type Style = Parameters<typeof styleText>[0];

const DEFAULT_WIDTH = 80;

/**
 * The width is that of the terminal, else COLUMNS, else 80. FORCE_COLOR asks for colours (0 and
 * false for none) in every output; otherwise a terminal has them, unless NO_COLOR or
 * NODE_DISABLE_COLORS is set or TERM is dumb.
 */
export function screenOf(stream: OutputStream, env: Environment = process.env): Screen {
  const isTerminal = stream.isTTY === true;
  const isDumb = env.TERM === 'dumb';
  return {
    isTerminal,
    width: isTerminal ? widthOf(stream, env) : Number.POSITIVE_INFINITY,
    hasColours: forcedColours(env) ?? (isTerminal && !isDumb && !refusesColours(env)),
    isUnicode: isTerminal && !isDumb && isUtf8(env),
  };
}

function widthOf({ columns }: OutputStream, { COLUMNS = '' }: Environment): number {
  if (columns !== undefined && columns > 0) return columns; // 0: the terminal does not know
  return /^[1-9]\d{0,4}$/.test(COLUMNS) ? Number(COLUMNS) : DEFAULT_WIDTH;
}

/** What FORCE_COLOR says; undefined if it says nothing. An empty value asks for colours. */
function forcedColours({ FORCE_COLOR }: Environment): boolean | undefined {
  return FORCE_COLOR === undefined ? undefined : FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
}

/** https://no-color.org: an empty value says nothing. */
function refusesColours({ NO_COLOR = '', NODE_DISABLE_COLORS = '' }: Environment): boolean {
  return NO_COLOR !== '' || NODE_DISABLE_COLORS !== '';
}

/** The first of these variables that is set decides, as in setlocale(3). */
function isUtf8({ LC_ALL, LC_CTYPE, LANG }: Environment): boolean {
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '');
}

/** `text` in a style, on a screen that has colours. Later versions of Node would decide again. */
export function styled(screen: Screen, style: Style, text: string): string {
  if (!screen.hasColours || text === '') return text;
  return styleText(style, text, { validateStream: false });
}
