/** The id of an image in JSON: null for an OpenVZ file and for a core file, which have none. */
export function shownId({ id }: { readonly id: string }): string | null {
  return id === '' ? null : id;
}
