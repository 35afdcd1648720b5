/** A thread's first task: when it returns, the modules of every dump are loaded. */
import { classify } from './classify.ts';
import { copy } from './copy.ts';

export function ready(): boolean {
  return classify !== undefined && copy !== undefined;
}
