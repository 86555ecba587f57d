"""Why words count as advertising, for whoever reads a finding; what decides is `worker.content.advertising`."""

import re
from enum import StrEnum


class Selling(StrEnum):
    """What words do that advertise."""

    PRICE_OFF = "price_off"
    PROMO_CODE = "promo_code"
    SALE = "sale"
    COMPARED_PRICE = "compared_price"
    URGENCY = "urgency"
    FREE_GIFT = "free_gift"
    LOYALTY = "loyalty"
    CONTEST = "contest"
    INVITATION = "invitation"
    CART = "cart"
    CALL_TO_BUY = "call_to_buy"
    OFFER = "offer"
    PROMOTIONAL_WORDING = "promotional_wording"


MEANING = {
    Selling.PRICE_OFF: "a price is lowered",
    Selling.PROMO_CODE: "a code or a coupon to buy with",
    Selling.SALE: "a sale is announced",
    Selling.COMPARED_PRICE: "a price is compared with a higher one",
    Selling.URGENCY: "somebody is hurried to buy",
    Selling.FREE_GIFT: "something is given to make somebody buy",
    Selling.LOYALTY: "points, rewards or friends brought along are a bait",
    Selling.CONTEST: "something can be won",
    Selling.INVITATION: "an invitation to where something is sold",
    Selling.CART: "a reminder of what was not bought",
    Selling.CALL_TO_BUY: "a call to buy, to book or to try",
    Selling.OFFER: "an offer",
    Selling.PROMOTIONAL_WORDING: "worded as advertising is",
}
# In order: the first that a stretch of folded words has is its reason.
_HINTS: tuple[tuple[Selling, str], ...] = (
    (Selling.PROMO_CODE, r"\bcodes?\b|coupon|voucher|gutschein|\bbons? (?:d'achat|de)"),
    (Selling.COMPARED_PRICE, r"au lieu de|instead of|\bwas\b|\bavant\b.*\bmaintenant|statt"),
    (Selling.PRICE_OFF, r"%|\boff\b|remise|reduc|rabais|discount|moitie|half[- ]price|moins cher|cheaper|save\b|economis"),
    (Selling.SALE, r"\bsoldes?\b|\bsales?\b|promo|vente|black ?friday|destock|bons? plans?|deal\b|rebajas|saldi"),
    (Selling.CONTEST, r"gagn|\bwin\b|concours|tirage|draw\b|jeu\b|tombola|remport"),
    (Selling.LOYALTY, r"points?\b|parrain|refer|fidel|loyal|reward|recompens|\bami|friend|cagnotte|\bclub\b"),
    (Selling.CART, r"panier|basket|\bcart\b"),
    (Selling.INVITATION, r"invit|portes ouvertes|inaugur|soiree|open (?:day|evening|house)|join us|rejoign|opening"),
    (Selling.FREE_GIFT, r"offert|gratuit|\bfree\b|cadeau|gift|treat|on us|on the house"),
    (Selling.OFFER, r"\boffres?\b|\boffers?\b|oferta|angebot|\bdes\b <|a partir|from\b"),
    (Selling.URGENCY, r"dernier|last\b|vite|hurry|ends?\b|stock|limite|limited|plus que|manquez|miss\b|only\b|jusqu"),
    (Selling.CALL_TO_BUY, r"achet|command|reserv|\bbook|\bbuy|\bshop|order|decouvr|discover|try\b|essay|profit|ajout"),
)  # fmt: skip
_COMPILED = tuple((reason, re.compile(pattern)) for reason, pattern in _HINTS)


def reason_of(folded: str) -> Selling:
    """Return the nearest reason for a stretch of folded words."""
    return next((reason for reason, hint in _COMPILED if hint.search(folded)), Selling.PROMOTIONAL_WORDING)
