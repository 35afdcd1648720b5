/**
 * Wrong values of options with choices are answered with the nearest choice. Commander does the same
 * for the names of commands and options.
 */
import { type Command, InvalidArgumentError, type Option } from 'commander';
import { nearest } from '../../shared/arguments/refuse.ts';

/** ' Did you mean elf?', or nothing if no choice is near: the nearest, or the one that begins so. */
export function suggestion(word: string, choices: readonly string[]): string {
  const longer = choices.filter((choice) => word.length > 1 && choice.startsWith(word));
  const found = longer.length === 1 ? longer[0] : nearest(word, choices);
  return found === undefined ? '' : ` Did you mean ${found}?`;
}

/** Adds the answers to all options with choices of a program and its commands. */
export function suggestChoices(program: Command): void {
  for (const command of [program, ...program.commands]) {
    for (const option of command.options) addTo(option);
  }
}

function addTo(option: Option): void {
  const { argChoices: choices, parseArg } = option;
  if (choices === undefined || parseArg === undefined) return;
  option.parseArg = <T>(value: string, previous: T): T => {
    try {
      return parseArg(value, previous);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      throw new InvalidArgumentError(error.message + suggestion(value, choices));
    }
  };
}
