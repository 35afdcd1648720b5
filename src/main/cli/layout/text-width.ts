/** How many columns of a terminal a text takes, and how a text is made to fit. */

/** Characters that take two columns: East Asian wide and full-width ones, and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
/** Characters that take none, since they change the one before them. */
const NARROW = /\p{Mn}|\p{Me}|\p{Cf}/u;
const ASCII = /^[\x20-\x7e]*$/;

/** Columns that a text without control characters takes. */
export function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): number {
  if (NARROW.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

/**
 * The text in at most `width` columns. A longer text loses its middle, and has `mark` in its place:
 * of a path, the directory where it begins and the name of the file say most.
 */
export function shortened(text: string, width: number, mark: string): string {
  if (widthOf(text) <= width) return text;
  const room = width - widthOf(mark);
  if (room < 2) return firstColumns([...text], width).join('');
  const characters = [...text];
  const tail = firstColumns([...characters].reverse(), Math.ceil(room / 2)).reverse();
  const head = firstColumns(characters, room - widthOf(tail.join('')));
  return `${head.join('')}${mark}${tail.join('')}`;
}

/** As many of the characters as fit into `width` columns. */
function firstColumns(characters: readonly string[], width: number): string[] {
  let used = 0;
  let count = 0;
  for (const character of characters) {
    used += characterWidth(character);
    if (used > width) break;
    count++;
  }
  return characters.slice(0, count);
}

/** The text with spaces before or behind it, so that it takes `width` columns. */
export function padded(text: string, width: number, side: 'left' | 'right'): string {
  const spaces = ' '.repeat(Math.max(0, width - widthOf(text)));
  return side === 'left' ? text + spaces : spaces + text;
}
