/**
 * Who in this thread uses translations at the moment (`shared/sync/translations.ts`). A thread is
 * inside by one mm at a time, and by none while it runs an operation or waits: whoever is about to
 * do so goes outside first. JavaScript runs one thing at a time in a thread, so a variable is enough.
 */

/** What uses translations of one mm in this thread. */
export interface TranslationUser {
  /** Goes outside. What it keeps is checked again before it is used the next time. */
  goOutside(): void;
  /** Drops all views once the machine is closed. */
  dropViews(): void;
}

let inside: TranslationUser | undefined;

/** Records that `user` is inside by its mm. Nobody else of this thread is. */
export function noteInside(user: TranslationUser | undefined): void {
  inside = user;
}

/** Makes the user that is inside, if there is one, go outside. Called before anything is waited for. */
export function goOutside(): void {
  inside?.goOutside();
}
