/** Decoders for request bodies. (Signature; implementation follows.) */
export interface Decoder<T> {
  /** @param at Go-like path for the error sentence, for example `CreateRequest.Name` */
  decode(value: unknown, at: string): T
}
