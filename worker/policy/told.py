"""What came of a message, in words for a support agent: French and English, no jargon, nobody's number."""

from schemas.outcomes import OutcomeKind
from worker.errors import DeadLetterReason
from worker.explanations import ADVICE
from worker.policy.verdicts import Reason

Words = tuple[str, str]  # French, English

OUTCOMES: dict[OutcomeKind, Words] = {
    OutcomeKind.ACCEPTED: ("remis à l'opérateur", "handed to the operator"),
    OutcomeKind.SUPPRESSED: ("non envoyé", "not sent"),
    OutcomeKind.SUPERSEDED: ("non envoyé : devenu sans objet", "not sent: something made it pointless"),
    OutcomeKind.EXPIRED: ("non envoyé : trop tard", "not sent: too late"),
    OutcomeKind.REJECTED: ("refusé par l'opérateur", "refused by the operator"),
    OutcomeKind.UNKNOWN: (
        "peut-être envoyé : l'opérateur n'a pas répondu, et rien n'est renvoyé pour ne pas écrire deux fois",
        "may have been sent: the operator did not answer, and nothing is sent again so that nobody is texted twice",
    ),
    OutcomeKind.DEFERRED: ("en attente", "waits"),
    OutcomeKind.DEAD_LETTERED: (
        "bloqué par une erreur, en attente d'un opérateur",
        "stopped by an error, until an operator looks",
    ),
    OutcomeKind.UNROUTED: ("aucun message prévu pour cet événement", "no text is meant for this event"),
}
REASONS: dict[Reason, Words] = {
    Reason.EXPIRED: ("il aurait été périmé en arrivant", "it would have been stale on arrival"),
    Reason.DELAYED: ("son heure n'est pas venue", "its time has not come"),
    Reason.UNKNOWN_TEMPLATE: ("son modèle n'est pas encore déployé", "its template is not deployed yet"),
    Reason.SUPERSEDED: ("un événement l'a rendu inutile", "an event made it pointless"),
    Reason.REDRIVEN: ("un opérateur l'a relancé", "an operator let it go again"),
    Reason.PAUSED: ("un opérateur a mis ces envois en pause", "an operator paused these texts"),
    Reason.FLOOD: ("son modèle est retenu après une série d'erreurs", "its template is held after a row of errors"),
    Reason.TRY_AGAIN: ("l'envoi a échoué et sera retenté", "sending failed and is tried again"),
    Reason.OUTSIDE_HOURS: (
        "la publicité respecte les heures du destinataire",
        "marketing keeps to the recipient's hours",
    ),
    Reason.CAP_REACHED: ("la personne a déjà reçu assez de messages", "the person has had enough texts for now"),
    Reason.CANCELLED: ("un opérateur l'a annulé", "an operator took it back"),
    Reason.GUARD_COUNTRY: ("les codes ne partent pas vers ce pays", "codes are not sent to that country"),
    Reason.GUARD_NUMBER: (
        "ce numéro a demandé trop de codes ; il faut attendre un peu",
        "that number asked for too many codes; it has to wait a little",
    ),
    Reason.GUARD_NEIGHBOURS: (
        "trop de numéros voisins ont demandé des codes (`guard allow` lève ce blocage)",
        "too many neighbouring numbers asked for codes (`guard allow` lifts the block)",
    ),
    Reason.GUARD_CONVERSION: (
        "presque aucun code de ce pays n'est saisi (`guard allow` lève ce blocage)",
        "hardly any code is typed in in that country (`guard allow` lifts the block)",
    ),
    Reason.GUARD_SPEND: (
        "le plafond de dépenses pour les codes est atteint (`guard allow` lève ce blocage)",
        "codes have cost as much as they may for now (`guard allow` lifts the block)",
    ),
    Reason.UNKNOWN_CONTACT: ("le contact n'est pas connu", "the contact is not known"),
    Reason.ERASED: ("les données de la personne ont été effacées", "the person's data were erased"),
    Reason.INVALID_NUMBER: ("le numéro n'est pas valide", "the number is not valid"),
    Reason.NOT_MOBILE: ("le numéro n'est pas celui d'un mobile", "the number is not a mobile's"),
    Reason.COUNTRY_NOT_SERVED: ("ce pays n'est pas desservi", "that country is not served"),
    Reason.NOT_ON_ALLOW_LIST: ("seuls des numéros d'essai sont servis ici", "only test numbers are texted here"),
    Reason.BLOCKED: ("la personne ne veut aucun message", "the person wants no texts at all"),
    Reason.DEAD_NUMBER: ("le numéro n'est plus attribué", "the number is no longer in use"),
    Reason.SUPPRESSED: ("la personne figure sur la liste d'opposition", "the person is on the suppression list"),
    Reason.NO_CONSENT: ("la personne n'a pas donné son accord", "the person did not agree to this"),
    Reason.CONSENT_REVOKED: ("la personne a retiré son accord", "the person withdrew their consent"),
    Reason.RECIPIENT_REFUSED: ("l'opérateur refuse ce numéro", "the operator refuses this number"),
    Reason.IN_DOUBT: ("la réponse de l'opérateur s'est perdue", "the operator's answer was lost"),
    Reason.ALREADY_SEEN: ("l'opérateur dit l'avoir déjà reçu", "the operator says it had it already"),
    Reason.NO_ROUTE_MATCHED: ("aucune règle ne s'applique à cette personne", "no rule is for this person"),
    Reason.NO_ROUTE: ("aucune règle pour ce type d'événement", "no rule for this type of event"),
}


def tell(outcome: str, reason: str | None) -> Words:
    """Return an outcome and its reason in French and in English."""
    french, english = OUTCOMES[OutcomeKind(outcome)]
    if reason is None or outcome == reason:
        return french, english
    if reason in set(Reason):
        its = REASONS[Reason(reason)]
        return f"{french} : {its[0]}", f"{english}: {its[1]}"
    if reason in set(DeadLetterReason):
        return f"{french} ({reason})", f"{english}: {ADVICE[DeadLetterReason(reason)].meaning}"
    return f"{french} ({reason})", f"{english} ({reason})"
