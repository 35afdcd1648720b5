/** What is searched for, as it is written on the command line. */
import { MmdumpError } from '../../shared/errors.ts';

/**
 * An expression between slashes, with flags behind them, such as /[a-z]+\0/i; the bytes of a number
 * that begins with 0x, in the order of its digits; or a text in UTF-8.
 */
export function patternOf(text: string): string | Uint8Array | RegExp {
  const expression = /^\/(.+)\/([a-z]*)$/s.exec(text);
  if (expression !== null) return expressionOf(text, expression[1]!, expression[2]!);
  if (!text.startsWith('0x')) return text;
  if (/^0x([0-9a-f]{2})+$/i.test(text)) return Buffer.from(text.slice(2), 'hex');
  const message = `'${text}': expected two hexadecimal digits for each byte behind 0x`;
  throw new MmdumpError('OPTION_INVALID', message);
}

function expressionOf(text: string, source: string, flags: string): RegExp {
  try {
    return new RegExp(source, flags);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const advice = 'write a text that begins and ends with / as bytes: 0x2f…';
    throw new MmdumpError('OPTION_INVALID', `'${text}': ${reason}; ${advice}`, { reason });
  }
}
