"""What a message counts as, how often its number may be texted, and who pays."""

from schemas.messages import Category, Message
from worker.content.templates import Template
from worker.delivery.accounts import Accounts
from worker.policy.budget import Budget
from worker.policy.caps import Cap, caps_of
from worker.policy.guard import SCOPE
from worker.policy.rules import CapRules, Policy


def budgets_of(policy: Policy, accounts: Accounts) -> dict[Category, Budget]:
    """Return the budget of each category that has one; transactional texts go on over theirs, and somebody is told."""
    return {
        category: Budget(accounts.of(category)[0], rule, holds=category is Category.MARKETING)
        for category, rule in policy.budgets.items()
    }


def scope_of(template: Template, message: Message) -> str:
    """Return what *message* counts as, under the caps of its number."""
    if template.guard:
        return f"{SCOPE}{message.template}:"
    return f"marketing:{template.purpose}:" if template.purpose else f"transactional:{message.template}:"


def caps_for(template: Template, message: Message, rules: CapRules) -> tuple[Cap, ...]:
    """Return how often the number of *message* may be texted."""
    scope = scope_of(template, message)
    if template.purpose is None:
        return caps_of(scope, rules.transactional)
    return caps_of("marketing:", rules.marketing) + caps_of(scope, rules.purposes.get(template.purpose, ()))
