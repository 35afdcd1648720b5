/** Control characters, and those that turn the direction of what follows. */
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/**
 * A name for messages and tables. Names come from images and processes: they must neither control
 * the terminal nor make two lines of one.
 */
export function printable(text: string): string {
  return text.replace(CONTROLS, '?');
}
